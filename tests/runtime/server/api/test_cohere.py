from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.manifest import TokenizerPolicy
from pool_export.runtime.server.api.cohere import binary, prompt_for, ubinary
from pool_export.runtime.server.problems import BadRequest, TooManyInputs

Ask = Callable[..., Any]


@pytest.fixture
def embedder(fake_llm: Callable[..., Any]) -> Any:
    return fake_llm("embed")


def vectors(llm: Any, texts: list[str], **options: Any) -> np.ndarray:
    return np.array([output.outputs.embedding for output in llm.embed(texts, use_tqdm=False, **options)])


def test_floats_are_the_default(ask: Ask, embedder: Any):
    answer = ask("/v2/embed", {"texts": ["one", "two three"], "input_type": "search_query"}, {"m": embedder})
    assert np.allclose(answer["embeddings"].pop("float"), vectors(embedder, ["one", "two three"]), atol=1e-7)
    assert answer == {
        "id": "rid",
        "embeddings": {},
        "texts": ["one", "two three"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}},
        "response_type": "embeddings_by_type",
    }


def test_base64_is_little_endian_float32(ask: Ask, embedder: Any):
    body = {"texts": ["one"], "embedding_types": ["float", "base64", "float"]}
    embeddings = ask("/v2/embed", body, {"m": embedder})["embeddings"]
    assert list(embeddings) == ["float", "base64"]
    raw = np.frombuffer(base64.b64decode(embeddings["base64"][0]), "<f4")
    assert np.array_equal(raw, np.array(embeddings["float"][0], np.float32))


def test_bits_are_packed_the_first_number_highest():
    vector = np.array([1, -1, 0, -0.5, 0.5, -1, -1, -1] + [-1] * 7 + [1], np.float32)
    assert ubinary(vector).tolist() == [0b10101000, 0b00000001]
    assert binary(vector).tolist() == [0b10101000 - 128, 1 - 128]
    assert binary(vector).dtype == np.int8


def test_binary_answers(ask: Ask, fake_llm: Callable[..., Any]):
    llm = fake_llm("embed", is_matryoshka=True)
    body = {"texts": ["one"], "embedding_types": ["binary"]}
    with pytest.raises(InputError, match="this vector has 6, use an output_dimension that is divisible by 8"):
        ask("/v2/embed", body, {"m": llm})


def test_output_dimension_is_the_matryoshka_size(ask: Ask, fake_llm: Callable[..., Any], embedder: Any):
    llm = fake_llm("embed", is_matryoshka=True)
    got = ask("/v2/embed", {"texts": ["one"], "output_dimension": 4}, {"m": llm})["embeddings"]["float"]
    want = vectors(llm, ["one"])[:, :4]
    assert np.allclose(got, want / np.linalg.norm(want), atol=1e-6)
    with pytest.raises(InputError, match="does not support matryoshka"):
        ask("/v2/embed", {"texts": ["one"], "output_dimension": 4}, {"m": embedder})


@pytest.mark.parametrize(
    ("truncate", "kept"),
    [
        ({}, "zero one two three four five six seven"),
        ({"max_tokens": 4}, "zero one"),
        ({"max_tokens": 4, "truncate": "START"}, "eight nine"),
    ],
)
def test_truncation_from_either_end(ask: Ask, embedder: Any, truncate: dict[str, Any], kept: str):
    long = "zero one two three four five six seven eight nine"
    answer = ask("/v2/embed", {"texts": [long], **truncate}, {"m": embedder})
    assert np.allclose(answer["embeddings"]["float"], vectors(embedder, [kept]), atol=1e-6)


def test_none_truncates_nothing(ask: Ask, embedder: Any):
    with pytest.raises(InputError, match="maximum context length is 10"):
        ask("/v2/embed", {"texts": ["one " * 20], "truncate": "NONE"}, {"m": embedder})
    with pytest.raises(InputError, match=r"texts\[1\] has 4 tokens, max_tokens is 3"):
        ask("/v2/embed", {"texts": ["one", "one two"], "truncate": "NONE", "max_tokens": 3}, {"m": embedder})
    answer = ask("/v2/embed", {"texts": ["one"], "truncate": "NONE", "max_tokens": 3}, {"m": embedder})
    assert answer["meta"]["billed_units"]["input_tokens"] == 3


@pytest.mark.parametrize(
    ("prompts", "default", "input_type", "want"),
    [
        ({}, None, None, (None, None)),
        ({}, None, "search_query", (None, None)),
        ({"search_query": "q"}, None, "search_query", ("search_query", None)),
        ({"query": "q", "passage": "p"}, None, "search_query", ("query", None)),
        ({"query": "q", "passage": "p"}, None, "search_document", ("passage", None)),
        ({"query": "q"}, None, "passage", None),
        ({"STSQuery": "s"}, None, "STSQuery", ("STSQuery", None)),
        # The default is for queries, so a document gets none.
        ({"query": "q"}, "query", "search_document", (None, "")),
        ({"common": "c"}, "common", "search_document", (None, None)),
        ({"query": "q"}, None, "clustering", (None, None)),
        ({}, None, "image", (None, None)),
    ],
)
def test_input_types_find_the_prompts(
    prompts: dict[str, str], default: str | None, input_type: str | None, want: tuple[str | None, str | None] | None
):
    policy = TokenizerPolicy(max_length=10, prompts=prompts, default_prompt_name=default)
    if want is None:
        with pytest.raises(InputError, match=r"input_type 'passage'\. Supported values: search_query, .*query"):
            prompt_for(policy, input_type)
    else:
        assert prompt_for(policy, input_type) == want


def test_the_prompt_goes_before_the_text(ask: Ask, fake_llm: Callable[..., Any]):
    llm = fake_llm("embed", policy={"prompts": {"query": "zero "}})
    body = {"texts": ["one"], "input_type": "search_query"}
    got = ask("/v2/embed", body, {"m": llm})["embeddings"]["float"]
    assert np.allclose(got, vectors(llm, ["zero one"]), atol=1e-7)


def test_inputs_of_texts(ask: Ask, embedder: Any):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    answer = ask("/v2/embed", {"inputs": [{"content": parts}]}, {"m": embedder})
    assert np.allclose(answer["embeddings"]["float"], vectors(embedder, ["one two"]), atol=1e-7)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "exactly one of texts, images and inputs.*got none"),
        ({"texts": []}, "exactly one of texts, images and inputs.*got none"),
        ({"texts": ["a"], "images": ["b"]}, "exactly one of.*got texts and images"),
        ({"images": ["data:image/png;base64,AA=="]}, "images are not supported"),
        ({"inputs": [{"content": [{"type": "image_url"}]}]}, r"inputs\[0\] must be"),
        ({"inputs": [{"text": "a"}]}, r"inputs\[0\] must be"),
        ({"texts": ["a"], "embedding_types": ["int8", "float"]}, r"\['int8'\].*use float, binary, ubinary, base64"),
        ({"texts": ["a"], "embedding_types": ["int4"]}, "embedding_types"),
        ({"texts": ["a"], "truncate": "MIDDLE"}, "truncate"),
        ({"texts": ["a"], "max_tokens": 0}, "max_tokens"),
    ],
)
def test_a_malformed_body_is_refused(ask: Ask, embedder: Any, body: dict[str, Any], words: str):
    with pytest.raises(BadRequest, match=words):
        ask("/v2/embed", body, {"m": embedder})


def test_too_many_texts(ask: Ask, embedder: Any):
    with pytest.raises(TooManyInputs, match="texts holds 3 items, the limit of one request is 2"):
        ask("/v2/embed", {"texts": ["one"] * 3}, {"m": embedder}, max_inputs=2)
