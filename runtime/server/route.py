"""What a route is: one declaration from which the server, its OpenAPI document and its tests are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .exchange import Exchange, Reply
from .problems import Dialect


@dataclass(frozen=True, kw_only=True)
class Route:
    """One operation.

    Attributes:
        paths: where it is served; the first is its name in logs and metrics.
        handle: answers it, in a worker thread; gets the decoded body (``None`` for GET).
        summary: one line for the API's documentation.
        tag: whose API it is.
        method: HTTP method.
        body: type of the JSON body; ``None`` for GET.
        answer: type of the JSON answer; ``None`` where it is no JSON.
        dialect: the shape of errors.
        computes: runs a model, so it asks for a key, takes a place among the concurrent requests and
            is drained at the end.
        media: content types of an answer; none where it is empty.
        statuses: errors beside those that every route of its kind may answer (``openapi.py``).
    """

    paths: tuple[str, ...]
    handle: Callable[[Exchange, Any], Reply]
    summary: str
    tag: str
    method: Literal["GET", "POST"] = "POST"
    body: Any = None
    answer: Any = None
    dialect: Dialect = "openai"
    computes: bool = True
    media: tuple[str, ...] = ("application/json",)
    statuses: tuple[int, ...] = ()
