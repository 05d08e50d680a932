from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.server.api.score import SIDES
from pool_export.runtime.server.problems import BadRequest, TooManyInputs

Ask = Callable[..., Any]
TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}{{ instruction }}"


@pytest.fixture
def reranker(fake_llm: Callable[..., Any]) -> Any:
    return fake_llm("classify", num_labels=1, labels=(), activation="sigmoid")


def scores(answer: Any) -> list[float]:
    assert [item["index"] for item in answer["data"]] == list(range(len(answer["data"])))
    return [item["score"] for item in answer["data"]]


@pytest.mark.parametrize("names", SIDES)
def test_every_pair_of_names_means_the_same(ask: Ask, reranker: Any, names: tuple[str, str]):
    answer = ask("/score", dict(zip(names, ("one", ["two", "three four"]), strict=True)), {"m": reranker})
    want = [output.outputs.score for output in reranker.score("one", ["two", "three four"], use_tqdm=False)]
    assert scores(answer) == want
    assert (answer["id"], answer["object"], answer["model"]) == ("score-rid", "list", "m")


@pytest.mark.parametrize(
    ("body", "found", "param"),
    [
        ({}, "none of them", "queries"),
        ({"queries": "one"}, "queries", "documents"),
        ({"text_2": "one"}, "text_2", "text_1"),
        ({"queries": "one", "text_2": "two"}, "queries and text_2", None),
        ({"queries": "one", "documents": "two", "items": "two"}, "queries and documents and items", None),
    ],
)
def test_anything_but_one_pair_is_refused(ask: Ask, reranker: Any, body: dict[str, str], found: str, param: str | None):
    with pytest.raises(BadRequest, match=f"exactly one of these pairs of fields: .*; got {found}$") as error:
        ask("/score", body, {"m": reranker})
    assert error.value.param == param


def test_a_cross_encoder_is_charged_for_every_pair(ask: Ask, reranker: Any):
    usage = ask("/score", {"text_1": "one", "text_2": ["two", "three four"]}, {"m": reranker})["usage"]
    # [CLS] q [SEP] d [SEP]
    assert usage == {"prompt_tokens": 11, "total_tokens": 11, "completion_tokens": 0, "prompt_tokens_details": None}


def test_an_embedding_model_embeds_the_query_once(ask: Ask, fake_llm: Callable[..., Any]):
    llm = fake_llm("embed")
    usage = ask("/score", {"text_1": "one two", "text_2": ["three"] * 5}, {"m": llm})["usage"]
    assert usage["prompt_tokens"] == 4 + 5 * 3
    assert sum(rows for (rows, _), _ in llm.engine.session.calls) == 6


def test_fields_reach_the_engine(ask: Ask, reranker: Any):
    body = {"queries": "one two", "documents": ["three four five"]}
    raw = ask("/score", {**body, "use_activation": False}, {"m": reranker})
    assert scores(raw) == scores(ask("/v1/score", {**body, "activation": False}, {"m": reranker}))
    assert scores(raw) != scores(ask("/score", body, {"m": reranker}))

    shorter = {"queries": "one", "documents": ["three four"]}
    trimmed = ask("/score", {**body, "max_tokens_per_query": 1, "max_tokens_per_doc": 2}, {"m": reranker})
    assert scores(trimmed) == scores(ask("/score", shorter, {"m": reranker}))

    cut = ask("/score", {**body, "truncate_prompt_tokens": 6, "truncation_side": "left"}, {"m": reranker})
    assert scores(cut) == scores(ask("/score", {"queries": "two", "documents": ["four five"]}, {"m": reranker}))
    assert cut["usage"]["prompt_tokens"] == 6


def test_a_template_reads_instruction_and_kwargs(ask: Ask, fake_llm: Callable[..., Any]):
    llm = fake_llm("classify", num_labels=1, labels=(), activation="sigmoid", policy={"score_template": TEMPLATE})
    body = {"queries": "one", "documents": "two"}
    plain, told = (ask("/score", {**body, **more}, {"m": llm}) for more in ({}, {"instruction": "three"}))
    assert told["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"] + 1
    by_name = ask("/score", {**body, "chat_template_kwargs": {"instruction": "three"}}, {"m": llm})
    assert scores(told) == scores(by_name)


def test_prompts_of_the_two_sides(ask: Ask, fake_llm: Callable[..., Any]):
    llm = fake_llm("embed", policy={"prompts": {"query": "zero ", "passage": "eleven "}})
    body = {"queries": "one", "documents": ["two"]}
    named = ask("/score", {**body, "query_prompt_name": "query", "document_prompt_name": "passage"}, {"m": llm})
    spelled = ask("/score", {"queries": "zero one", "documents": ["eleven two"]}, {"m": llm})
    assert scores(named) == scores(spelled)


def test_the_first_model_that_scores_is_meant(ask: Ask, reranker: Any, fake_llm: Callable[..., Any]):
    answer = ask("/score", {"text_1": "one", "text_2": "two"}, {"a": fake_llm("classify"), "b": reranker})
    assert answer["model"] == "b"


def test_what_cannot_be_scored_is_refused(ask: Ask, reranker: Any, fake_llm: Callable[..., Any]):
    with pytest.raises(InputError, match="1:1, 1:N or N:N, got 2 queries and 3 documents"):
        ask("/score", {"text_1": ["one"] * 2, "text_2": ["two"] * 3}, {"m": reranker})
    with pytest.raises(InputError, match="only enabled for num_labels == 1"):
        ask("/score", {"text_1": "one", "text_2": "two"}, {"m": fake_llm("classify")})
    with pytest.raises(TooManyInputs, match="documents holds 4 items, the limit of one request is 3"):
        ask("/score", {"queries": "one", "documents": ["two"] * 4}, {"m": reranker}, max_inputs=3)
