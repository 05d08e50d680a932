"""Images in `/score`, `/rerank` and `/v2/embed`, against the offline engine."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pool_export.runtime.llm import LLM

TEXT = "a red square"


@pytest.fixture(scope="module")
def app(open_app: Any, vision_bundle: Callable[[str], Path]) -> Any:
    return open_app(f"clip={vision_bundle('clip')}")


@pytest.fixture(scope="module")
def clip(vision_bundle: Callable[[str], Path]) -> LLM:
    return LLM(vision_bundle("clip"), device="cpu")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return [Image.new("RGB", (32, 32), "red"), Image.fromarray(noise)]


def data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def content(image: Image.Image) -> dict[str, Any]:
    return {"content": [{"type": "image_url", "image_url": {"url": data_url(image)}}]}


def prompts(pictures: list[Image.Image]) -> list[Any]:
    return [{"prompt": "", "multi_modal_data": {"image": image}} for image in pictures]


@pytest.fixture(scope="module")
def scores(clip: LLM, pictures: list[Image.Image]) -> list[float]:
    return [item.outputs.score for item in clip.score(TEXT, prompts(pictures), use_tqdm=False)]


def test_a_text_is_scored_with_images(app: Any, pictures: list[Image.Image], scores: list[float]):
    answer = app.post("/score", json={"queries": TEXT, "documents": [content(image) for image in pictures]}).json()
    assert [item["score"] for item in answer["data"]] == pytest.approx(scores, abs=1e-6)


def test_images_are_ranked_and_given_back(app: Any, pictures: list[Image.Image], scores: list[float]):
    body = {"query": {"content": [{"type": "text", "text": TEXT}]}, "documents": [content(image) for image in pictures]}
    results = app.post("/v1/rerank", json=body).json()["results"]
    assert [item["index"] for item in results] == sorted(range(2), key=lambda index: -scores[index])
    for item in results:
        assert item["relevance_score"] == pytest.approx(scores[item["index"]], abs=1e-6)
        assert item["document"] == {"text": None, "multi_modal": content(pictures[item["index"]])}


def test_images_are_embedded_under_either_name(app: Any, clip: LLM, pictures: list[Image.Image]):
    want = np.array([item.outputs.embedding for item in clip.embed(prompts(pictures), use_tqdm=False)])
    urls = {"images": [data_url(image) for image in pictures], "input_type": "image"}
    parts = {"inputs": [content(image) for image in pictures], "input_type": "search_document"}
    for body in (urls, parts):
        answer = app.post("/v2/embed", json=body).json()
        assert np.abs(np.array(answer["embeddings"]["float"]) - want).max() < 1e-6
        assert list(answer["meta"]["billed_units"]) == ["image_tokens"]
        assert "texts" not in answer


def test_texts_and_images_in_one_request(app: Any, clip: LLM, pictures: list[Image.Image]):
    inputs = [{"content": [{"type": "text", "text": TEXT}]}, content(pictures[0])]
    got = app.post("/v2/embed", json={"inputs": inputs}).json()["embeddings"]["float"]
    want = clip.embed([TEXT, *prompts(pictures[:1])], use_tqdm=False)
    assert np.abs(np.array(got) - np.array([item.outputs.embedding for item in want])).max() < 1e-6


@pytest.mark.parametrize("url", ["https://images.example/x.png", "file:///etc/hostname", "data:,no image", "x.png"])
def test_nothing_is_read_for_a_client(app: Any, url: str):
    response = app.post("/v2/embed", json={"images": [url]})
    assert response.status_code == 400
    item = {"content": [{"type": "image_url", "image_url": {"url": url}}]}
    assert app.post("/rerank", json={"query": TEXT, "documents": [item]}).status_code == 400
