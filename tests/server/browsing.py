"""What the page's tests share: one browser, a page that may not leave its server, and colours as a reader sees them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

SHOTS = Path("build/page")

# Every text on the page against what lies behind it (WCAG 2.2, 1.4.3). A canvas turns any CSS colour into sRGB.
CONTRASTS = """
() => {
  const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((byte) => byte / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const isText = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) ||
      ["TEXTAREA", "SELECT", "INPUT"].includes(node.tagName);
    if (!isText || !node.checkVisibility() || node.closest(".unseen, option, noscript")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const where = `${node.tagName}.${node.className} ${node.textContent.slice(0, 40)}`;
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), where]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return headless Chromium, the distribution's own."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.fail("the page's tests drive Debian's chromium, which is not here: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return `open_page(url, model, panel, **context)`: a page that fails on any other host and on console errors."""
    faults: list[str] = []
    contexts = []

    def visit(url: str, model: str = "", panel: str = "", *, allowed: tuple[str, ...] = (), **options: Any) -> Page:
        def within(route: Route) -> None:
            if urlsplit(route.request.url).netloc == urlsplit(url).netloc:
                route.continue_()
            else:
                faults.append(f"a request left the server: {route.request.url}")
                route.abort()

        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.route("**/*", within)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "console",
            lambda said: (
                faults.append(f"console: {said.text}")
                if said.type in ("error", "warning") and not any(text in said.text for text in allowed)
                else None
            ),
        )
        page.goto(f"{url}/#{urlencode({'model': model, 'panel': panel})}")
        page.wait_for_selector("[role=tab]")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


def press_run(page: Page) -> None:
    """Run the visible panel and wait for its outcome."""
    panel = page.locator("[role=tabpanel]:visible")
    panel.locator("button.primary").click()
    panel.locator(".result:not([aria-busy]) > *").first.wait_for()


def numbers(page: Page, selector: str) -> list[float]:
    """Read the numbers that a selector's elements show."""
    return [float(text) for text in page.locator(selector).all_inner_texts()]


def shoot(page: Page, name: str) -> None:
    """Keep a picture of the whole page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
