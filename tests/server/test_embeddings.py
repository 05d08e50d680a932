"""`/v1/embeddings` of a live server against the offline engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np

from pool_export.runtime.llm import LLM


def test_answers_what_the_engine_answers(live: Any, minilm_bundle: Path) -> None:
    texts = ["a text", "another, longer text of more tokens", ""]
    response = httpx.post(f"{live.url}/v1/embeddings", json={"input": texts, "model": "minilm"})
    assert response.status_code == 200
    got = np.array([item["embedding"] for item in response.json()["data"]], dtype=np.float32)
    want = np.array([output.outputs.embedding for output in LLM(minilm_bundle).embed(texts, use_tqdm=False)])
    assert np.abs(got - want).max() < 1e-6
