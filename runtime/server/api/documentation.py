"""Routes that describe the others: the OpenAPI document, and a page for people."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import orjson

from ..config import ServerConfig
from ..docs_page import POLICY, render
from ..exchange import Exchange, Reply
from ..openapi import document
from ..route import Route


def routes_about(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The routes that describe a table of routes, themselves included."""
    table: tuple[Route, ...]

    @lru_cache(maxsize=1)
    def openapi_json(config: ServerConfig) -> bytes:
        return orjson.dumps(document(table, config))

    @lru_cache(maxsize=8)  # by the address it is read at, which its examples name
    def docs_html(config: ServerConfig, host: str) -> bytes:
        return render(table, config, host)

    def openapi(exchange: Exchange, body: None) -> Reply:
        """Describe this API in OpenAPI 3.1, with the limits that are in force."""
        return Reply(openapi_json(exchange.config))

    def docs(exchange: Exchange, body: None) -> Reply:
        """Describe this API on one page for people. It loads nothing from elsewhere."""
        host = exchange.headers.get("host", "")
        headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
        return Reply(docs_html(exchange.config, host), "text/html; charset=utf-8", headers)

    own = (
        Route(
            method="GET",
            paths=("/openapi.json",),
            handle=openapi,
            summary="This API, as OpenAPI",
            tag="Server",
            computes=False,
        ),
        Route(
            method="GET",
            paths=("/docs",),
            handle=docs,
            summary="This API, for people",
            tag="Server",
            computes=False,
            media=("text/html",),
        ),
    )
    table = (*routes, *own)
    return own
