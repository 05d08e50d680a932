"""`/classify` of a live server against the offline engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pool_export.runtime.llm import LLM
from pool_export.runtime.params import PoolingParams

TEXTS = ["good", "rather bad, all in all"]


def ask(live: Any, **body: Any) -> httpx.Response:
    return httpx.post(f"{live.url}/classify", json=body)


@pytest.mark.parametrize("model", ["classifier", "cross-encoder"])
@pytest.mark.parametrize("name", ["use_activation", "activation"])
@pytest.mark.parametrize("active", [None, True, False])
def test_answers_what_the_engine_answers(
    live: Any, served_bundles: dict[str, Path], model: str, name: str, active: bool | None
):
    llm = LLM(served_bundles[model], device="cpu")
    want = llm.classify(TEXTS, use_tqdm=False, pooling_params=PoolingParams(use_activation=active))
    body = ask(live, input=TEXTS, model=model, **{name: active}).json()
    assert body["id"].startswith("classify-")
    assert body["usage"]["prompt_tokens"] == sum(len(output.prompt_token_ids) for output in want)
    for index, (item, output) in enumerate(zip(body["data"], want, strict=True)):
        assert list(item) == ["index", "label", "probs", "num_classes"]
        assert (item["index"], item["num_classes"]) == (index, output.outputs.num_classes)
        assert item["label"] == llm.spec.labels[int(np.argmax(output.outputs.data))]
        assert np.abs(np.array(item["probs"]) - output.outputs.data).max() < 1e-6


def test_without_a_name_the_first_classifier_answers(live: Any):
    body = ask(live, input="good").json()
    assert (body["model"], len(body["data"])) == ("cross-encoder", 1)


@pytest.mark.parametrize("model", ["minilm", "token-classifier"])
def test_a_model_that_does_not_classify_is_named(live: Any, model: str):
    response = ask(live, input="good", model=model)
    assert response.status_code == 400
    assert "Supported tasks: " in response.json()["message"]
