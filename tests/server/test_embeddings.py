"""`/v1/embeddings` of a live server against the offline engine."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pool_export.runtime.llm import LLM
from pool_export.runtime.params import PoolingParams

TEXTS = ["a text", "another, longer text of more tokens", ""]

# What the seed of vLLM's page prints for its curl example: names and order.
PRINTED = ["id", "object", "created", "model", "data", "usage"]
PRINTED_USAGE = ["prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details"]


@pytest.fixture(scope="module")
def ask(live: Any) -> Callable[..., httpx.Response]:
    def post(**body: Any) -> httpx.Response:
        return httpx.post(f"{live.url}/v1/embeddings", json=body)

    return post


@pytest.fixture(scope="module")
def minilm(minilm_bundle: Path) -> LLM:
    return LLM(minilm_bundle, device="cpu")


def numbers(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array([item["embedding"] for item in response.json()["data"]], dtype=np.float32)


def offline(llm: LLM, prompts: Any, **options: Any) -> np.ndarray:
    return np.array([output.outputs.data for output in llm.embed(prompts, use_tqdm=False, **options)])


def test_the_seeds_example_has_the_printed_keys(ask: Any):
    body = ask(input="Follow the white rabbit.", model="matryoshka", encoding_format="float", dimensions=16).json()
    assert list(body) == PRINTED
    assert body["id"].startswith("embd-")
    assert (body["object"], body["model"]) == ("list", "matryoshka")
    assert list(body["usage"]) == PRINTED_USAGE
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    assert (body["usage"]["completion_tokens"], body["usage"]["prompt_tokens_details"]) == (0, None)
    (item,) = body["data"]
    assert list(item) == ["index", "object", "embedding"]
    assert (item["index"], item["object"], len(item["embedding"])) == (0, "embedding", 16)
    assert np.linalg.norm(item["embedding"]) == pytest.approx(1)


def test_the_matryoshka_error_is_the_seeds_in_both_shapes(ask: Any):
    response = ask(input="Follow the white rabbit.", model="minilm", dimensions=32)
    said = {
        "message": 'Model "minilm" does not support matryoshka representation, '
        "changing output dimensions will lead to poor results.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
    assert response.status_code == 400
    assert response.json() == {"object": "error", **said, "error": said}


@pytest.mark.parametrize(
    "prompts", [TEXTS[0], TEXTS, ["5", "1.5"], [101, 7592, 102], [[101, 7592, 102], [101, 102]], [101.0, 102]]
)
def test_every_form_of_input_answers_what_the_engine_answers(ask: Any, minilm: LLM, prompts: Any):
    want = offline(minilm, [101, 102] if prompts == [101.0, 102] else prompts)
    assert np.abs(numbers(ask(input=prompts, model="minilm")) - want).max() < 1e-6


def test_usage_counts_special_tokens_and_what_truncation_left(ask: Any):
    def usage(**options: Any) -> int:
        return ask(input=["one two three", "four"], model="minilm", **options).json()["usage"]["prompt_tokens"]

    assert usage() == 5 + 3
    assert usage(add_special_tokens=False) == 3 + 1
    assert usage(truncate_prompt_tokens=4) == 4 + 3


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_keeps_the_other_end(ask: Any, minilm: LLM, side: str):
    kwargs = {"truncation_side": side}
    want = offline(minilm, ["one two three four"], truncate_prompt_tokens=4, tokenization_kwargs=kwargs)
    asked = {"truncate_prompt_tokens": 4, "truncation_side": side}
    assert np.abs(numbers(ask(input="one two three four", model="minilm", **asked)) - want).max() < 1e-6
    other = "one two" if side == "right" else "three four"
    assert np.abs(numbers(ask(input=other, model="minilm")) - want).max() < 1e-6


@pytest.mark.parametrize("name", ["normalize", "use_activation"])
def test_normalisation_can_be_switched_off(ask: Any, minilm: LLM, name: str):
    want = offline(minilm, TEXTS, pooling_params=PoolingParams(normalize=False))
    found = numbers(ask(input=TEXTS, model="minilm", **{name: False}))
    assert np.abs(found - want).max() < 1e-5
    assert not np.allclose(np.linalg.norm(found, axis=1), 1, atol=0.1)


def test_base64_and_bytes_hold_the_same_numbers(ask: Any):
    want = numbers(ask(input=TEXTS, model="minilm"))
    found = ask(input=TEXTS, model="minilm", encoding_format="base64", endianness="big").json()["data"]
    decoded = np.array([np.frombuffer(base64.b64decode(item["embedding"]), ">f4") for item in found])
    assert np.abs(decoded - want).max() < 1e-6

    response = ask(input=TEXTS, model="minilm", encoding_format="bytes", embed_dtype="float16")
    metadata = json.loads(response.headers["metadata"])
    assert response.headers["content-type"] == "application/octet-stream"
    for row, item in zip(want, metadata["data"], strict=True):
        part = np.frombuffer(response.content[item["start"] : item["end"]], np.float16).reshape(item["shape"])
        assert np.abs(part - row).max() < 1e-3
    assert metadata["usage"] == {"prompt_tokens": 4 + 10 + 2, "total_tokens": 16}

    response = ask(input=TEXTS, model="minilm", encoding_format="bytes_only", embed_dtype="fp8_e5m2")
    assert len(response.content) == want.size
    assert "metadata" not in response.headers


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": [1, "a"]}, r'input\[1\] must be an integer, as input\[0\] is; got "a"'),
        ({"input": ["a", 1]}, r"input\[1\] must be a string, as input\[0\] is; got 1"),
        ({"input": ["a", [1]]}, r"input\[1\] must be a string"),
        ({"input": [[1], [{"role": "user"}]]}, r"input\[1\]\[0\] must be an integer, .* got \{\"role\":\"user\"\}"),
        ({"input": [[1, "x"]]}, r'input\[0\]\[1\]: .*got "x"'),
        ({"input": [1.5]}, r"input\[0\]: .*got 1.5"),
        ({"input": []}, r"You must pass at least one prompt, got input=\[\]"),
        ({"input": [[]]}, "The decoder prompt cannot be empty"),
        ({"input": [7, 10**9]}, r"Token id 1000000000 is out of vocabulary \(0 to 30521\)"),
        ({}, "give either `input` or `messages`, got neither"),
        ({"input": "a", "messages": []}, "give either `input` or `messages`, got both"),
        ({"messages": []}, r"messages must be a list of at least one message, got \[\]"),
        ({"messages": [{"role": "user", "content": "a"}]}, "this model has no chat template: send the text as"),
        ({"messages": [{"content": "a"}]}, r"messages\[0\]\.role must be a string"),
        ({"messages": [[{"role": "user"}], "a"]}, r"messages\[1\]"),
        ({"input": "a", "mm_processor_kwargs": {"crop": 1}}, "mm_processor_kwargs are not supported"),
        ({"input": "a", "truncate_prompt_tokens": -2}, r"truncate_prompt_tokens: .*-1.*, got -2"),
        ({"input": "a", "truncate_prompt_tokens": 257}, r"truncate_prompt_tokens value \(257\) is greater .*256"),
        ({"input": "a", "padding": "max_length"}, "padding and pad_prompt_tokens are not supported"),
        ({"input": "a " * 300}, "maximum context length is 256 tokens. However, your prompt contains 302"),
        ({"input": "a", "embed_dtype": "fp4"}, "embed_dtype: .*fp4"),
        ({"input": "a", "prompt_name": "query"}, "prompt_name 'query' was given, and this model has no prompts"),
    ],
)
def test_what_cannot_be_served_is_named(ask: Any, body: dict[str, Any], message: str):
    response = ask(model="minilm", **body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "BadRequestError"
    with pytest.raises(ValueError, match=message):
        raise ValueError(response.json()["message"])


def test_another_models_task_is_named(ask: Any):
    response = ask(input="a", model="classifier")
    assert response.status_code == 400
    assert "Embedding API is not supported by this model" in response.json()["message"]
    assert ask(input="a", model="none").status_code == 404


def test_a_list_of_token_ids_is_one_input_and_a_list_of_texts_is_many(ask: Any):
    response = ask(input=[7] * 2100, model="minilm")
    assert response.status_code == 400
    assert "your prompt contains 2100 input tokens" in response.json()["message"]
    response = ask(input=["a"] * 2049, model="minilm")
    assert response.status_code == 422
    assert "input holds 2049 items, the limit of one request is 2048" in response.json()["message"]


def test_an_image_for_a_text_model_is_refused_before_it_is_read(ask: Any):
    part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}
    response = ask(messages=[{"role": "user", "content": [part]}], model="minilm")
    assert response.status_code == 400
    assert "this model takes text only; messages holds an image" in response.json()["message"]
