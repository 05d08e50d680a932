from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from pool_export.runtime.server.api.rerank import by_score
from pool_export.runtime.server.problems import BadRequest, TooManyInputs

Ask = Callable[..., Any]
DOCUMENTS = ["two", "three four", "five", "six seven"]
BODY = {"query": "one", "documents": DOCUMENTS}


@pytest.fixture
def reranker(fake_llm: Callable[..., Any]) -> Any:
    return fake_llm("classify", num_labels=1, labels=(), activation="sigmoid")


def ranked(llm: Any, documents: list[str] = DOCUMENTS) -> list[tuple[int, float]]:
    scores = [output.outputs.score for output in llm.score("one", documents, use_tqdm=False)]
    return sorted(enumerate(scores), key=lambda item: -item[1])


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_the_most_relevant_come_first_with_their_documents(ask: Ask, reranker: Any, path: str):
    answer = ask(path, BODY, {"m": reranker})
    assert [(item["index"], item["relevance_score"]) for item in answer["results"]] == ranked(reranker)
    assert all(
        item["document"] == {"text": DOCUMENTS[item["index"]], "multi_modal": None} for item in answer["results"]
    )
    assert (answer["id"], answer["model"]) == ("rerank-rid", "m")
    assert answer["usage"] == {"prompt_tokens": 22, "total_tokens": 22}


@pytest.mark.parametrize(("top_n", "count"), [(2, 2), (0, 4), (None, 4), (9, 4)])
def test_top_n(ask: Ask, reranker: Any, top_n: int | None, count: int):
    results = ask("/v1/rerank", {**BODY, "top_n": top_n}, {"m": reranker})["results"]
    assert [item["index"] for item in results] == [index for index, _ in ranked(reranker)[:count]]


def test_documents_may_be_objects_and_left_out_of_the_answer(ask: Ask, reranker: Any):
    body = {"query": {"text": "one"}, "documents": [{"text": "two"}, "five"], "return_documents": False}
    results = ask("/v1/rerank", body, {"m": reranker})["results"]
    want = ranked(reranker, ["two", "five"])
    assert results == [{"index": index, "relevance_score": score} for index, score in want]


def test_one_document_need_not_be_a_list(ask: Ask, reranker: Any):
    results = ask("/rerank", {"query": "one", "documents": "two"}, {"m": reranker})["results"]
    assert [item["index"] for item in results] == [0]


def test_scoring_fields_are_honoured(ask: Ask, reranker: Any):
    raw = ask("/v2/rerank", {**BODY, "use_activation": False, "max_tokens_per_doc": 1}, {"m": reranker})
    cut = [text.split()[0] for text in DOCUMENTS]
    scores = {item["index"]: item["relevance_score"] for item in raw["results"]}
    for index, value in ranked(reranker, cut):
        assert 1 / (1 + math.exp(-scores[index])) == pytest.approx(value, abs=1e-6)


def test_equal_scores_stay_in_their_order():
    assert by_score([0.5, 0.7, 0.5, 0.7, 0.1]) == [1, 3, 0, 2, 4]


# ------------------------------------------------------------------------------------------------ TEI's form


def test_texts_are_answered_as_tei_does(ask: Ask, reranker: Any):
    body = {"query": "one", "texts": DOCUMENTS}
    want = [{"index": index, "score": score} for index, score in ranked(reranker)]
    assert ask("/rerank", body, {"m": reranker}) == want
    texts = ask("/rerank", {**body, "return_text": True}, {"m": reranker})
    assert texts == [{**item, "text": DOCUMENTS[item["index"]]} for item in want]


def test_raw_scores_are_logits(ask: Ask, reranker: Any):
    body = {"query": "one", "texts": ["two"]}
    (raw,) = ask("/rerank", {**body, "raw_scores": True}, {"m": reranker})
    (score,) = ask("/rerank", body, {"m": reranker})
    assert 1 / (1 + math.exp(-raw["score"])) == pytest.approx(score["score"], abs=1e-6)


def test_a_model_without_an_activation_still_answers_a_probability(ask: Ask, fake_llm: Callable[..., Any]):
    llm = fake_llm("classify", num_labels=1, labels=(), activation="identity")
    body = {"query": "one", "texts": ["two"]}
    (raw,) = ask("/rerank", {**body, "raw_scores": True}, {"m": llm})
    (score,) = ask("/rerank", body, {"m": llm})
    assert 1 / (1 + math.exp(-raw["score"])) == pytest.approx(score["score"], abs=1e-6)


def test_tei_cuts_long_texts_unless_told_not_to(ask: Ask, reranker: Any):
    long = " ".join(["two"] * 30)
    (cut,) = ask("/rerank", {"query": "one", "texts": [long]}, {"m": reranker})
    assert cut["score"] == pytest.approx(ranked(reranker, ["two " * 6])[0][1])
    with pytest.raises(Exception, match="maximum context length is 10 tokens"):
        ask("/rerank", {"query": "one", "texts": [long], "truncate": False}, {"m": reranker})
    left = ask("/rerank", {"query": "one", "texts": [f"{long} five"], "truncation_direction": "Left"}, {"m": reranker})
    assert left[0]["score"] == pytest.approx(ranked(reranker, ["two " * 5 + "five"])[0][1])


@pytest.mark.parametrize(
    ("more", "found"), [({}, "neither"), ({"documents": ["two"], "texts": ["two"]}, "both")]
)  # fmt: skip
def test_documents_or_texts(ask: Ask, reranker: Any, more: dict[str, Any], found: str):
    with pytest.raises(BadRequest, match=rf"documents \(Jina, Cohere, vLLM\) or texts \(TEI\), got {found}"):
        ask("/rerank", {"query": "one", **more}, {"m": reranker})


def test_too_many_are_refused_by_the_name_of_their_field(ask: Ask, reranker: Any):
    for field in ("documents", "texts"):
        with pytest.raises(TooManyInputs, match=f"{field} holds 4 items, the limit of one request is 3"):
            ask("/rerank", {"query": "one", field: DOCUMENTS}, {"m": reranker}, max_inputs=3)


@pytest.mark.parametrize("bad", [{"top_n": -1}, {"documents": [{"title": "x"}]}, {"query": None}])
def test_a_malformed_body_names_its_field(ask: Ask, reranker: Any, bad: dict[str, Any]):
    with pytest.raises(BadRequest) as error:
        ask("/v1/rerank", {**BODY, **bad}, {"m": reranker})
    assert str(error.value.param).split("[")[0] in bad or "text" in str(error.value)
