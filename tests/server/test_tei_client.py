"""`huggingface_hub.InferenceClient`, the client of TEI's users, unchanged, against a live server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from pool_export.runtime.llm import LLM

TEXTS = ["a heron in the shallows", "the night train to the coast"]


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client out: the suite switches the hub off, and this server is on the loopback."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def vectors(minilm_bundle: Path, offline: Callable[[Path], LLM]) -> np.ndarray:
    return np.array([item.outputs.embedding for item in offline(minilm_bundle).embed(TEXTS, use_tqdm=False)])


@pytest.mark.parametrize("path", ["", "/embed"])
def test_feature_extraction(live: Any, vectors: np.ndarray, path: str):
    client = InferenceClient(model=f"{live.url}{path}")
    assert np.abs(client.feature_extraction(TEXTS) - vectors).max() < 1e-6
    one = client.feature_extraction(TEXTS[0], normalize=True, truncate=True, truncation_direction="left")
    assert np.abs(one - vectors[:1]).max() < 1e-6


@pytest.mark.parametrize("path", ["", "/similarity"])
def test_sentence_similarity(live: Any, vectors: np.ndarray, path: str):
    client = InferenceClient(model=f"{live.url}{path}")
    got = client.sentence_similarity(TEXTS[0], other_sentences=TEXTS)
    assert got == pytest.approx([1.0, float(vectors[0] @ vectors[1])], abs=1e-6)


def test_text_classification(live: Any, served_bundles: dict[str, Path], offline: Callable[[Path], LLM]):
    found = InferenceClient(model=f"{live.url}/predict").text_classification(TEXTS[0])
    # The first classifier that is served.
    (output,) = offline(served_bundles["cross-encoder"]).classify(TEXTS[0], use_tqdm=False)
    assert [(item.label, item.score) for item in found] == [("LABEL_0", pytest.approx(output.outputs.probs[0]))]


def test_an_error_is_told_to_the_client(live: Any):
    client = InferenceClient(model=f"{live.url}/embed")
    with pytest.raises(HfHubHTTPError, match="Bad request:\nprompt_name 'query' was given") as error:
        client.feature_extraction(TEXTS, prompt_name="query")
    assert error.value.response.json()["error_type"] == "Validation"


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/embed", {"inputs": "word " * 5000, "truncate": False}, 400, "Validation"),
        ("/embed", {"inputs": ["a"] * 2049}, 422, "Validation"),
        ("/embed", {}, 400, "Validation"),
        ("/embed", {"inputs": "a", "model": "none"}, 404, "Validation"),
        ("/embed_sparse", {"inputs": "a"}, 400, "Validation"),
        ("/predict", {"inputs": []}, 400, "Validation"),
    ],
)
def test_errors_have_teis_shape(live: Any, path: str, body: dict[str, Any], status: int, kind: str):
    response = httpx.post(f"{live.url}{path}", json=body)
    assert response.status_code == status
    assert set(response.json()) == {"error", "error_type"}
    assert response.json()["error_type"] == kind


def test_a_classifier_by_name(live: Any, served_bundles: dict[str, Path], offline: Callable[[Path], LLM]):
    body = {"model": "classifier", "inputs": [["a text"], ["a text", "and another"]]}
    one, two = httpx.post(f"{live.url}/predict", json=body).json()
    (output,) = offline(served_bundles["classifier"]).classify("a text", use_tqdm=False)
    assert sorted(item["score"] for item in one) == pytest.approx(sorted(output.outputs.probs), abs=1e-6)
    assert sum(item["score"] for item in two) == pytest.approx(1, abs=1e-6)


def test_embed_all_and_info(live: Any, minilm_bundle: Path, offline: Callable[[Path], LLM]):
    (rows,) = httpx.post(f"{live.url}/embed_all", json={"inputs": TEXTS[0]}).json()
    (output,) = offline(minilm_bundle).encode(TEXTS[0], pooling_task="token_embed", use_tqdm=False)
    assert np.abs(np.array(rows) - output.outputs.data).max() < 1e-6
    assert httpx.get(f"{live.url}/info").json()["model_type"] == {"embedding": {"pooling": "mean"}}
