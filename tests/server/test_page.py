"""The page at `/` in headless Chromium: what it shows is what the API answers. Pictures are kept in build/page/."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from .browsing import CONTRASTS, numbers, press_run, shoot

pytestmark = pytest.mark.browser

PANELS = [
    ("minilm", "embed"),
    ("cross-encoder", "rank"),
    ("classifier", "classify"),
    ("token-classifier", "tokens"),
    ("reward", "tokens"),
]
SHOWN = 5.1e-5  # four decimals
NARROW = {"width": 360, "height": 780}


def ask(url: str, path: str, **body: Any) -> Any:
    return httpx.post(f"{url}/{path}", json=body).raise_for_status().json()


def filled(page: Page, name: str) -> list[str]:
    return page.input_value(f"#{name}").splitlines()


# ------------------------------------------------------------------------------------- the numbers are the API's


@pytest.mark.parametrize(("model", "size"), [("minilm", None), ("matryoshka", 8)])
def test_similarity_of_texts(live: Any, open_page: Callable[..., Page], model: str, size: int | None) -> None:
    page = open_page(live.url, model, "embed")
    expect(page.locator("#embed-size")).to_be_visible(visible=size is not None)
    if size:
        page.select_option("#embed-size", str(size))
    press_run(page)
    body = {"model": model, "input": filled(page, "embed-texts"), **({"dimensions": size} if size else {})}
    vectors = np.array([item["embedding"] for item in ask(live.url, "v1/embeddings", **body)["data"]])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    want = unit @ unit.T
    cells = page.locator("td.shade").evaluate_all("cells => cells.map((cell) => Number(cell.dataset.value))")
    assert np.abs(np.array(cells).reshape(want.shape) - want).max() < SHOWN
    seen = numbers(page, "td.shade")
    assert np.abs(np.array(seen) - np.array(cells)).max() <= 0.00501
    pairs = sorted((want[i, j] for i in range(len(want)) for j in range(i)), reverse=True)[:8]
    assert np.abs(np.array(numbers(page, ".ranked .value")) - pairs).max() < SHOWN
    assert f"vectors of {size or 384} numbers" in page.inner_text("#panel-embed .status")


@pytest.mark.parametrize("model", ["minilm", "cross-encoder"])
def test_ranked_documents(live: Any, open_page: Callable[..., Page], model: str) -> None:
    page = open_page(live.url, model, "rank")
    press_run(page)
    documents = filled(page, "rank-documents")
    want = ask(live.url, "rerank", model=model, query=page.input_value("#rank-query"), documents=documents)["results"]
    assert page.locator(".ranked td.text").all_inner_texts() == [documents[item["index"]] for item in want]
    scores = [item["relevance_score"] for item in want]
    assert np.abs(np.array(numbers(page, ".ranked .value")) - scores).max() < SHOWN
    widths = page.locator(".ranked .fill").evaluate_all("bars => bars.map((bar) => bar.getBoundingClientRect().width)")
    assert sorted(widths, reverse=True) == widths
    assert widths[0] > widths[-1]


def test_probabilities_of_labels(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "classifier", "classify")
    press_run(page)
    want = ask(live.url, "classify", model="classifier", input=filled(page, "classify-texts"))["data"]
    shown = numbers(page, ".classes .value")
    assert np.abs(np.array(shown) - np.ravel([item["probs"] for item in want])).max() < SHOWN
    assert page.locator(".classes .best th").all_inner_texts() == [item["label"] for item in want]


@pytest.mark.parametrize("model", ["token-classifier", "reward"])
def test_values_of_tokens(live: Any, open_page: Callable[..., Page], model: str) -> None:
    page = open_page(live.url, model, "tokens")
    press_run(page)
    text = page.input_value("#tokens-text")
    rows = np.array(ask(live.url, "pooling", model=model, input=text, task="token_classify")["data"][0]["data"])
    assert np.abs(np.array(numbers(page, ".tokens .value")) - rows.max(axis=1)).max() < SHOWN
    if model == "token-classifier":
        labels = page.locator("#tokens-column option").all_inner_texts()[1:]
        assert page.locator(".tokens .name").all_inner_texts() == [labels[index] for index in rows.argmax(axis=1)]
        page.select_option("#tokens-column", label=labels[2])
        assert np.abs(np.array(numbers(page, ".tokens .value")) - rows[:, 2]).max() < SHOWN
    page.click("summary")
    table = np.array(numbers(page, ".plain .value")).reshape(rows.shape)
    assert np.abs(table - rows).max() < SHOWN


def test_card_and_last_request(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "minilm", "embed")
    card = page.inner_text("#card")
    about = httpx.get(f"{live.url}/v1/models").json()["data"][0]["details"]
    for fact in ("embedding_size", "device", "precision", "threads", "licence", "architecture", "similarity"):
        assert str(about[fact]) in card
    with page.expect_response("**/v1/embeddings") as caught:
        press_run(page)
    spans = dict(re.findall(r"(\w+);dur=([\d.]+)", caught.value.headers["server-timing"]))
    shown = dict(re.findall(r"(\w[\w ]*)\n+([\d.]+)(?: ms)?", page.inner_text("#request dl")))
    for name, title in {"tokenize": "Tokenize", "forward": "Forward", "total": "Server total"}.items():
        assert float(shown[title]) == pytest.approx(float(spans[name]), abs=0.06)
    assert int(shown["Tokens"]) == caught.value.json()["usage"]["total_tokens"]


# --------------------------------------------------------------------------------------------- looks and access


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("model", "panel"), PANELS)
def test_contrast_labels_and_width(
    live: Any, open_page: Callable[..., Page], model: str, panel: str, scheme: str
) -> None:
    page = open_page(live.url, model, panel, color_scheme=scheme)
    press_run(page)
    shoot(page, f"{panel}-{model}-{scheme}")
    weakest, where = page.evaluate(CONTRASTS)[0]
    assert weakest >= 4.5, where
    unnamed = """nodes => nodes.filter((node) => !node.hidden && !node.labels?.length && !node.ariaLabel
        && !node.textContent.trim()).map((node) => node.id)"""
    assert page.locator("input, select, textarea, button, a, summary").evaluate_all(unnamed) == []
    assert page.locator("[role=tabpanel]:visible").get_attribute("aria-labelledby") == f"tab-{panel}"
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    shoot(page, f"{panel}-{model}-{scheme}-narrow")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_shade_of_the_scales_is_readable_and_even(live: Any, open_page: Callable[..., Page], scheme: str) -> None:
    page = open_page(live.url, color_scheme=scheme)
    page.evaluate(
        """() => { for (const kind of ["shade", "shade minus"]) for (let step = 0; step <= 100; step += 1) {
            const cell = Object.assign(document.createElement("b"), { className: kind, textContent: String(step) });
            cell.style.setProperty("--v", step / 100);
            document.querySelector("#work").append(cell);
        } }"""
    )
    shades = [ratio for ratio, where in page.evaluate(CONTRASTS) if where.startswith("B.shade")]
    assert len(shades) == 202
    assert min(shades) >= 4.5
    lights = page.locator("b.shade:not(.minus)").evaluate_all(
        "cells => cells.map((cell) => Number(/oklab\\(([\\d.]+)/.exec(getComputedStyle(cell).backgroundColor)[1]))"
    )
    steps = np.diff(lights)
    assert np.abs(steps).min() > 0.002
    assert np.abs(steps - steps.mean()).max() < 1e-3


def test_page_does_not_move_while_it_loads(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "minilm", "embed")
    moved = page.evaluate(
        """() => new Promise((done) => {
            let sum = 0;
            new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; })
              .observe({ type: "layout-shift", buffered: true });
            setTimeout(() => done(sum), 150);
        })"""
    )
    assert moved < 0.05


def test_by_keyboard_alone(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "minilm", "embed")
    focused = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
    order = []
    for _ in range(7):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
    assert order == ["skip", "model", "A", "theme", "tab-embed", "embed-texts", "primary"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("a cat\na dog\na train")
    page.keyboard.press("Control+Enter")
    page.locator("table.heat").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "TD"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    value = page.evaluate("document.activeElement.dataset.value")
    assert page.inner_text(".readout") == f"{value} 2 × 3: “a dog” and “a train”"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.value") == value


def test_tabs_models_and_the_hash(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "minilm", "embed")
    page.focus("#tab-embed")
    page.keyboard.press("ArrowRight")
    assert page.url.endswith("#model=minilm&panel=rank")
    page.select_option("#model", "classifier")
    assert page.locator("[role=tab]").all_inner_texts() == ["Classify"]
    page.reload()
    expect(page.locator("#panel-classify")).to_be_visible()
    assert page.input_value("#model") == "classifier"


def test_theme_is_kept(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    bright = page.evaluate(ground)
    page.click("#theme")
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: dark"
    dark = page.evaluate(ground)
    assert dark != bright
    page.reload()
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    assert page.evaluate(ground) == dark
    page.click("#theme")
    assert (page.inner_text("#theme"), page.evaluate(ground)) == ("Theme: auto", bright)
