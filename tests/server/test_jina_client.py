"""The documented requests of api.jina.ai, sent to a live server by a plain HTTP client."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

DOCUMENTS = [
    "Organic skincare for sensitive skin with aloe vera and chamomile.",
    "New makeup trends focus on bold colors and innovative techniques.",
    "Natural cream with chamomile, made for sensitive skin.",
]


def test_the_rerankers_documented_request(live: Any):
    body = {
        "model": "minilm",
        "query": "Organic skincare products for sensitive skin",
        "top_n": 2,
        "documents": DOCUMENTS,
        "return_documents": True,
    }
    headers = {"Authorization": "Bearer none", "Accept": "application/json"}
    answer = httpx.post(f"{live.url}/v1/rerank", json=body, headers=headers).json()
    assert set(answer) >= {"model", "usage", "results"}
    assert answer["usage"]["total_tokens"] > 0
    assert [item["index"] for item in answer["results"]] == [0, 2]
    assert answer["results"][0]["document"]["text"] == DOCUMENTS[0]
    scores = [item["relevance_score"] for item in answer["results"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("form", [DOCUMENTS, [{"text": text} for text in DOCUMENTS]])
def test_documents_are_left_out_on_request(live: Any, form: Any):
    body = {"model": "minilm", "query": "skincare", "documents": form, "return_documents": False}
    results = httpx.post(f"{live.url}/v1/rerank", json=body).json()["results"]
    assert len(results) == 3
    assert all(set(item) == {"index", "relevance_score"} for item in results)
