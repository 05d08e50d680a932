"""examples/hosts/browser: the static page in headless Chromium, offline. Pictures are kept in build/hosts/."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from pool_export.runtime.llm import LLM

from ..server.browsing import CONTRASTS
from .programs import MAIN, GetBundle, npm_packages, run, succeed, tool

pytestmark = pytest.mark.interop

READY = 240_000  # ms: a graph and two hundred texts on one wasm thread, beside other tests
QUERY = "What do plants live on?"
NARROW = {"width": 360, "height": 780}


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder; says nothing."""

    extensions_map: ClassVar[dict[str, str]] = {
        ".html": "text/html",
        ".css": "text/css",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="session")
def sites(
    checkout: Path, bundle_of: GetBundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """Return `sites(name)`: the URL of a page built with that bundle, on a static server of its own."""
    folder = npm_packages(checkout / "examples" / "hosts" / "browser")
    node = tool("node", "apt-get install nodejs (20 or newer)")
    built: dict[str, str] = {}
    servers: list[ThreadingHTTPServer] = []

    def site(name: str) -> str:
        if name not in built:
            target = tmp_path_factory.mktemp("site")
            succeed([node, folder / "build.mjs", bundle_of(name), target])
            server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(target)))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
            built[name] = f"http://127.0.0.1:{server.server_port}"
        return built[name]

    yield site
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return `visit(url, **context)`: a page that has read its sentences; it fails on errors and on any other host."""
    faults: list[str] = []
    contexts = []

    def opened(url: str, **options: Any) -> Page:
        def within(route: Route) -> None:
            if urlsplit(route.request.url).netloc == urlsplit(url).netloc:
                route.continue_()
            else:
                faults.append(f"a request left the page: {route.request.url}")
                route.abort()

        context = browser.new_context(**{"viewport": {"width": 900, "height": 900}, **options})
        contexts.append(context)
        context.route("**/*", within)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(url)
        page.wait_for_selector("#status.fault, #status:has-text('sentences ready')", timeout=READY)
        assert "sentences ready" in page.inner_text("#status"), [page.inner_text("#status"), *faults]
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def search(page: Page, query: str) -> list[tuple[str, float]]:
    page.fill("#query", query)
    page.press("#query", "Enter")
    page.wait_for_selector("#status.fault, #status:has-text('nearest sentences')", timeout=READY)
    assert "nearest sentences" in page.inner_text("#status"), page.inner_text("#status")
    expect(page.locator("#hits:not([aria-busy])")).to_be_visible()
    texts = page.locator(".hit .text").all_inner_texts()
    return [
        (text, float(score)) for text, score in zip(texts, page.locator(".hit .score").all_inner_texts(), strict=True)
    ]


def shoot(page: Page, checkout: Path, name: str) -> None:
    page.screenshot(path=checkout / "build" / "hosts" / f"{name}.png", full_page=True)


def test_the_int8_graph_is_taken_and_replays(sites: Callable[[str], str], visit: Callable[..., Page],
                                             checkout: Path) -> None:  # fmt: skip
    page = visit(sites("minilm-int8"))
    assert " · int8 · " in page.inner_text("#model")
    page.get_by_text("Is this browser right?").click()
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#verdict")).to_contain_text(re.compile("passed|failed"), timeout=READY)
    assert page.inner_text("#verdict").startswith("passed: ")
    assert search(page, QUERY)[0][0].startswith("Plants close the pores")
    shoot(page, checkout, "browser-int8")


@pytest.mark.parametrize("name", MAIN)
def test_golden_replays_in_the_browser(name: str, sites: Callable[[str], str], visit: Callable[..., Page],
                                       bundle_of: GetBundle) -> None:  # fmt: skip
    cases = json.loads((bundle_of(name) / "golden.json").read_text("utf-8"))["cases"]
    page = visit(sites(name))
    page.get_by_text("Is this browser right?").click()
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#verdict")).to_contain_text(re.compile("passed|failed"), timeout=READY)
    pairs = sum(case["pair"] is not None for case in cases)
    assert page.inner_text("#verdict").startswith(f"passed: {len(cases)} cases, {pairs} pairs,")


@pytest.mark.parametrize("name", MAIN)
def test_hits_are_the_ones_of_llm(name: str, sites: Callable[[str], str], visit: Callable[..., Page],
                                  bundle_of: GetBundle, checkout: Path) -> None:  # fmt: skip
    texts = (checkout / "models_zoo" / "data" / "sentences.txt").read_text("utf-8").splitlines()
    page = visit(sites(name))
    found = search(page, QUERY)
    scores = np.array(
        [output.outputs.score for output in LLM(str(bundle_of(name))).score(QUERY, texts, truncate_prompt_tokens=-1)]
    )
    best = np.argsort(-scores, kind="stable")[:10]
    np.testing.assert_allclose([score for _, score in found], scores[best], atol=1e-3)
    if name == "minilm":  # random weights have ties within a rounding
        assert [text for text, _ in found] == [texts[index] for index in best]
    shoot(page, checkout, f"browser-{name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_can_be_read(scheme: str, sites: Callable[[str], str], visit: Callable[..., Page], checkout: Path) -> None:
    page = visit(sites("cross-encoder"), color_scheme=scheme)
    search(page, QUERY)
    for summary in page.locator("summary").all():
        summary.click()
    worst, where = page.evaluate(CONTRASTS)[0]
    assert worst >= 4.5, where
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(245, 246, 247)" if scheme == "light" else "rgb(19, 22, 25)"
    )
    shoot(page, checkout, f"browser-{scheme}")


def test_page_fits_a_phone(sites: Callable[[str], str], visit: Callable[..., Page], checkout: Path) -> None:
    page = visit(sites("cross-encoder"), viewport=NARROW)
    search(page, "a" * 200)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    shoot(page, checkout, "browser-phone")


def test_page_works_by_keyboard_and_names_its_controls(sites: Callable[[str], str], visit: Callable[..., Page]) -> None:
    page = visit(sites("cross-encoder"))
    expect(page.get_by_role("searchbox", name="Find sentences like")).to_be_visible()
    seen = []
    for _ in range(4):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert seen == ["query", "search", "Your own sentences", "Is this browser right?"]
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Check")).to_be_enabled()


def test_own_sentences_are_searched_as_text(sites: Callable[[str], str], visit: Callable[..., Page]) -> None:
    page = visit(sites("cross-encoder"))
    page.get_by_text("Your own sentences").click()
    page.fill("#lines", "one <b>bold</b> line\n\n<img src=x onerror=alert(1)>\n")
    page.get_by_role("button", name="Read them").click()
    expect(page.locator("#status")).to_contain_text("2 sentences ready", timeout=READY)
    assert {text for text, _ in search(page, "bold")} == {"one <b>bold</b> line", "<img src=x onerror=alert(1)>"}


def test_an_unknown_precision_is_said(browser: Browser, sites: Callable[[str], str]) -> None:
    page = browser.new_page()
    page.goto(f"{sites('cross-encoder')}/?precision=int3")
    expect(page.locator("#status.fault")).to_have_text("no int3 graph; the bundle has fp32", timeout=READY)
    page.close()


def test_build_needs_a_bundle(checkout: Path, tmp_path: Path) -> None:
    node = tool("node", "apt-get install nodejs (20 or newer)")
    script = checkout / "examples" / "hosts" / "browser" / "build.mjs"
    assert run([node, script]).returncode == 2
    done = run([node, script, tmp_path])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pool_export.json" in done.stderr
