"""The files of the page: each is served, with its type, and with headers that keep a browser to this origin."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from pool_export.runtime.server import assets

FOLDER = Path(assets.__file__).parent / "page"
ROUTES = {route.path: route for route in assets.page_routes()}


def ask(path: str, **headers: str) -> Response:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": fields}
    return asyncio.run(ROUTES[path].endpoint(Request(scope)))


def test_every_file_is_served_at_its_path() -> None:
    names = {file.name for file in FOLDER.iterdir()}
    assert set(ROUTES) == {"/"} | {f"/page/{name}" for name in names - {"index.html"}}
    for path in ROUTES:
        assert ask(path).body == (FOLDER / (path.removeprefix("/page/").strip("/") or "index.html")).read_bytes()


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
def test_types(path: str, media_type: str) -> None:
    answer = ask(path)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"


def test_policy_allows_this_origin_and_nothing_inline() -> None:
    policy = ask("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert {ask(path).headers["content-security-policy"] for path in ROUTES} == {policy}


def test_a_known_version_is_not_sent_again() -> None:
    tag = ask("/page/main.js").headers["etag"]
    assert tag != ask("/page/dom.js").headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = ask("/page/main.js", if_none_match=known)
        assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert ask("/page/main.js", if_none_match='"other"').status_code == 200


def test_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    html = (FOLDER / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", html) == []
    for file in FOLDER.iterdir():
        text = file.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert re.findall(r"(?:https?:)?//[\w-]+\.[\w.]+", text) == [], file.name
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text) == []


def test_every_module_is_preloaded() -> None:
    # Without it a browser finds the modules one import after the other, a round trip each.
    html = (FOLDER / "index.html").read_text("utf-8")
    modules = {f"page/{file.name}" for file in FOLDER.glob("*.js")}
    assert set(re.findall(r'(?:href|src)="(page/[\w.]+\.js)"', html)) == modules


def test_links_are_relative_so_that_a_proxy_may_add_a_prefix() -> None:
    html = (FOLDER / "index.html").read_text("utf-8")
    assert [link for link in re.findall(r'(?:href|src)="([^"]*)"', html) if link.startswith("/")] == []
