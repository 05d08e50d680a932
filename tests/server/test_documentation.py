"""The OpenAPI document and `/docs` of a live server."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import httpx

from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.field_notes import EXAMPLES
from pool_export.runtime.server.openapi import document
from pool_export.runtime.server.routes import ROUTES


def test_every_example_is_answered(live: Any) -> None:
    paths = {path for route in ROUTES if route.body is not None for path in route.paths}
    for path in sorted(paths - {"/embed_sparse"}):  # the live server has no sparse model
        response = httpx.post(f"{live.url}{path}", json=EXAMPLES[path])
        assert response.status_code == 200, (path, response.text[:300])


def test_the_document_is_served(live: Any) -> None:
    want = document(ROUTES, ServerConfig())
    assert httpx.get(f"{live.url}/openapi.json").json() == want


class _Page(HTMLParser):
    """What a page links to, loads, and how its headings and ids stand."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, name: str, of: str | None = None) -> list[str]:
        return [value for tag, attrs in self.tags if of in (None, tag) and (value := attrs.get(name)) is not None]


def test_the_page_is_for_every_route_and_loads_nothing(live: Any) -> None:
    response = httpx.get(f"{live.url}/docs")
    page = _Page(response.text)
    assert {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags} == set()
    assert page.all("src") == []
    assert not re.search(r"@import|url\(", response.text)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    local = [link for link in page.all("href") if link.startswith("#")]
    assert {link[1:] for link in local} <= set(ids)
    assert {link for link in page.all("href") if not link.startswith("#")} == {"./", "openapi.json"}
    for route in ROUTES:
        for path in route.paths:
            assert f"<code>{path}</code>" in response.text
    assert response.text.count("<h1") == 1
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")


def test_the_pages_example_can_be_pasted(live: Any) -> None:
    text = httpx.get(f"{live.url}/docs").text
    assert f"curl {live.url}/v1/embeddings" in text
    spoofed = httpx.get(f"{live.url}/docs", headers={"host": 'x"><script>alert(1)</script>'}).text
    assert "<script>" not in spoofed
    assert "alert(1)" not in spoofed
