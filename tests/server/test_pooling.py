"""`/pooling` of a live server: every task, against the offline engine."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pool_export.runtime.llm import LLM

TEXTS = ["one two", "three four five six"]


def ask(live: Any, **body: Any) -> httpx.Response:
    return httpx.post(f"{live.url}/pooling", json=body)


@pytest.mark.parametrize(
    ("model", "task"),
    [
        ("minilm", None),
        ("minilm", "token_embed"),
        ("minilm", "encode"),
        ("classifier", "classify"),
        ("token-classifier", None),
        ("reward", "reward"),
    ],
)
def test_answers_what_the_engine_answers(live: Any, served_bundles: dict[str, Path], model: str, task: Any):
    want = LLM(served_bundles[model], device="cpu").encode(TEXTS, pooling_task=task, use_tqdm=False)
    body = ask(live, input=TEXTS, model=model, task=task).json()
    assert body["id"].startswith("pooling-")
    assert body["usage"]["prompt_tokens"] == sum(len(output.prompt_token_ids) for output in want)
    for index, (item, output) in enumerate(zip(body["data"], want, strict=True)):
        assert (item["index"], item["object"]) == (index, "pooling")
        found = np.array(item["data"], np.float32)
        assert found.shape == output.outputs.data.shape
        assert np.abs(found - output.outputs.data).max() < 1e-5


def test_rows_of_tokens_as_base64_and_bytes(live: Any):
    rows = ask(live, input=TEXTS, model="token-classifier").json()["data"]
    want = [np.array(item["data"], np.float32) for item in rows]
    coded = ask(live, input=TEXTS, model="token-classifier", encoding_format="base64").json()["data"]
    for item, row in zip(coded, want, strict=True):
        found = np.frombuffer(base64.b64decode(item["data"]), np.float32)
        assert np.abs(found - row.ravel()).max() < 1e-6
    response = ask(live, input=TEXTS, model="token-classifier", encoding_format="bytes")
    parts = json.loads(response.headers["metadata"])["data"]
    assert [part["shape"] for part in parts] == [list(row.shape) for row in want]
    for part, row in zip(parts, want, strict=True):
        found = np.frombuffer(response.content[part["start"] : part["end"]], np.float32).reshape(part["shape"])
        assert np.abs(found - row).max() < 1e-6


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"dimensions": 8}, "dimensions is currently not supported", "dimensions"),
        ({"task": "score"}, "Unsupported task: 'score'; task must be one of embed, classify", "task"),
        ({"task": "embedding"}, "Unsupported task: 'embedding'", "task"),
        ({"task": "classify"}, "Classification API is not supported by this model", None),
        ({"task": "token_embed", "input_type": "query"}, "input_type", None),
        ({"task": "token_embed", "model": "none", "dimensions": 8}, "dimensions is currently", "dimensions"),
    ],
)
def test_what_cannot_be_served_is_named(live: Any, body: dict[str, Any], message: str, param: str | None):
    response = ask(live, **{"input": "a", "model": "minilm", **body})
    assert response.status_code == 400, response.text
    assert message in response.json()["message"]
    assert response.json()["param"] == param
