"""`/score` and `/rerank` of a live server against the offline engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pool_export.runtime.llm import LLM

QUERY = "how does a heron catch fish"
DOCUMENTS = ["It stands still in shallow water.", "The train was late.", "A heron spears fish with its bill.", ""]


@pytest.fixture(params=["cross-encoder", "minilm", "matryoshka"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def want(name: str, served_bundles: dict[str, Path], offline: Callable[[Path], LLM]) -> list[float]:
    """Return what the offline engine scores."""
    outputs = offline(served_bundles[name]).score(QUERY, DOCUMENTS, use_tqdm=False)
    return [output.outputs.score for output in outputs]


def test_scores_are_those_of_the_offline_engine(live: Any, name: str, want: list[float]):
    body = {"model": name, "queries": QUERY, "documents": DOCUMENTS}
    answer = httpx.post(f"{live.url}/score", json=body).json()
    assert [item["score"] for item in answer["data"]] == pytest.approx(want, abs=1e-6)
    assert answer["model"] == name


def test_ranks_are_those_of_the_offline_scores(live: Any, name: str, want: list[float]):
    body = {"model": name, "query": QUERY, "documents": DOCUMENTS, "top_n": 3}
    results = httpx.post(f"{live.url}/v1/rerank", json=body).json()["results"]
    order = sorted(range(len(want)), key=lambda index: -want[index])[:3]
    assert [item["index"] for item in results] == order
    assert [item["relevance_score"] for item in results] == pytest.approx([want[i] for i in order], abs=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/score", {"model": "classifier", "text_1": "a", "text_2": "b"}, "num_labels == 1"),
        ("/score", {"model": "reward", "text_1": "a", "text_2": "b"}, "does not support the Scoring API"),
        ("/score", {"text_1": ["a", "b"], "text_2": ["c"]}, "got 2 queries and 1 documents"),
        ("/rerank", {"query": "a", "documents": []}, "at least one prompt, got documents=[]"),
        ("/v2/rerank", {"query": "a", "documents": ["b"], "top_n": "many"}, "top_n"),
        ("/v1/rerank", {"documents": ["b"]}, "query"),
    ],
)
def test_a_bad_request_is_told_why(live: Any, path: str, body: dict[str, Any], words: str):
    response = httpx.post(f"{live.url}{path}", json=body)
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]
