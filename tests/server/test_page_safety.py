"""The page at `/` with keys, errors and hostile texts, in headless Chromium."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from pool_export.runtime.similarity import SIMILARITY_FUNCTIONS

from .browsing import press_run, shoot

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"
NOT_OK = "Failed to load resource"  # Chromium says so of every 4xx


def test_markup_in_texts_stays_text(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "minilm", "embed")
    page.fill("#embed-texts", f"{HOSTILE}\n<script>alert(2)</script>\nplain")
    press_run(page)
    assert page.locator(".heat .text").first.inner_text() == HOSTILE
    assert page.locator(".result img, .result script").count() == 0
    assert HOSTILE in page.input_value("#curl")


def test_markup_in_labels_and_names_stays_text(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "classifier", "classify")

    def renamed(route: Route) -> None:
        answer = route.fetch().json()
        for model in answer["data"]:
            model["details"].update(labels=[HOSTILE, "b", "c"], source=HOSTILE)
        route.fulfill(json=answer)

    page.route("**/v1/models", renamed)
    page.reload()
    page.wait_for_selector("[role=tab]")
    press_run(page)
    assert page.locator(".classes th[scope=row]").first.inner_text() == HOSTILE
    assert HOSTILE in page.inner_text("#card")
    assert page.locator("main img, aside img").count() == 0


def test_strings_cannot_become_markup(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, allowed=("TrustedHTML",))
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; } catch (error) { return error.name; } }"
    )
    assert refused == "TypeError"


def test_the_servers_sentence_is_shown_in_place(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "minilm", "embed", allowed=(NOT_OK,))
    texts = ["word " * 400, "short"]
    page.fill("#embed-texts", "\n".join(texts))
    page.click("#panel-embed .primary")
    fault = page.locator("#panel-embed .fault")
    expect(fault).to_be_visible()
    body = {"model": "minilm", "input": [text.strip() for text in texts]}
    want = httpx.post(f"{live.url}/v1/embeddings", json=body)
    assert want.status_code == 400
    assert fault.inner_text() == want.json()["error"]["message"]
    assert fault.get_attribute("role") == "alert"
    assert "400" in page.inner_text("#request .route")
    page.fill("#embed-texts", "one\ntwo")
    press_run(page)
    expect(fault).to_be_hidden()


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ("", "Give at least one of the texts."),
        ("alone", "Give at least two texts, one a line."),
        ("\n".join(map(str, range(49))), "49 texts are more than this page shows at once (48); the API takes more."),
        ("x" * 200_001, "200,001 characters are more than this page sends (200,000); the API takes more."),
    ],
)
def test_what_the_page_does_not_send(live: Any, open_page: Callable[..., Page], texts: str, sentence: str) -> None:
    page = open_page(live.url, "minilm", "embed")
    page.fill("#embed-texts", texts)
    page.click("#panel-embed .primary")
    expect(page.locator("#panel-embed .fault")).to_have_text(sentence)
    assert page.locator("#request .route").count() == 0


def test_curl_is_the_request_with_its_quotes(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url, "minilm", "embed")
    page.fill("#embed-texts", 'it\'s $HOME\n`two` "quoted" \\ words')
    with page.expect_request("**/v1/embeddings") as caught:
        press_run(page)
    words = shlex.split(page.input_value("#curl").replace("\\\n", " "))
    assert words[:2] == ["curl", f"{live.url}/v1/embeddings"]
    assert words[words.index("-d") + 1] == caught.value.post_data
    assert json.loads(words[-1])["input"][0] == "it's $HOME"


def test_a_key_is_asked_for_and_kept_in_the_tab_alone(
    start_server: Callable[..., Any], open_page: Callable[..., Page], minilm_bundle: Path
) -> None:
    server = start_server(f"minilm={minilm_bundle}", options=("--threads", "1"), POOL_EXPORT_API_KEY="sesame")
    try:
        page = open_page(server.url, "minilm", "embed", allowed=(NOT_OK,))
        expect(page.locator("#key-form")).to_be_hidden()
        page.click("#panel-embed .primary")
        expect(page.locator("#key")).to_be_focused()
        assert "asks for an API key" in page.inner_text("#panel-embed .fault")
        shoot(page, "key")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#panel-embed .fault")).to_have_text("the API key is not known to this server")
        page.keyboard.type("sesame")
        page.keyboard.press("Enter")
        page.locator("table.heat").wait_for()
        expect(page.locator("#key-form")).to_be_hidden()
        assert page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]") == [["sesame"], []]
        assert "sesame" not in page.inner_text("body") + page.input_value("#curl")
        assert "Bearer $API_KEY" in page.input_value("#curl")
    finally:
        server.stop()


def test_rows_of_step_tokens_find_their_tokens(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url)
    paired = """async () => {
        const { paired } = await import("/page/tokens.js");
        return paired([5, 9, 6, 9], ["a", "+", "b", "+"], [[0.1], [0.2]], 9).map((token) => token.row?.[0] ?? null);
    }"""
    assert page.evaluate(paired) == [None, 0.1, None, 0.2]


def test_byte_level_tokens_are_spelled_as_text(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url)
    tokens = ["H", "Ã¤", "l", "Ġw", "Ã", "¶", "ĠâĤ¬", "<|end|>"]
    read = page.evaluate("""async (tokens) => (await import("/page/spelling.js")).readable(tokens)""", tokens)
    assert read == ["H", "ä", "l", "␣w", "\\xc3", "\\xb6", "␣€", "<|end|>"]


def test_similarities_are_the_runtimes(live: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(live.url)
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        got = page.evaluate(
            """async ([rows, name]) => (await import("/page/similarity.js")).matrix(rows, name)""",
            [vectors.tolist(), name],
        )
        want = [SIMILARITY_FUNCTIONS[name](vectors[0], other) for other in vectors[1:]]
        assert np.abs(np.array(got)[0, 1:] - want).max() < 1e-5
