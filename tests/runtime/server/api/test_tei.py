from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pool_export.poolers.parts import SparseHead
from pool_export.runtime.errors import InputError
from pool_export.runtime.params import PoolingParams
from pool_export.runtime.postprocess import sigmoid, softmax
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.server.problems import BadRequest, TooManyInputs

Ask = Callable[..., Any]
Make = Callable[..., Any]
LONG = "zero one two three four five six seven eight nine"


def vectors(llm: Any, texts: list[Any], **params: Any) -> np.ndarray:
    outputs = llm.embed(texts, use_tqdm=False, pooling_params=PoolingParams(**params))
    return np.array([output.outputs.embedding for output in outputs])


def logits(llm: Any, prompt: Any) -> np.ndarray:
    (output,) = llm.classify(prompt, use_tqdm=False, pooling_params=PoolingParams(use_activation=False))
    return output.outputs.data


# --------------------------------------------------------------------------------------------------- embed


@pytest.mark.parametrize("inputs", ["one two", ["one two", "three"], [1, 6, 2], [[1, 6, 2], "one"]])
def test_embed(ask: Ask, fake_llm: Make, inputs: Any):
    llm = fake_llm("embed")
    got = ask("/embed", {"inputs": inputs}, {"m": llm})
    assert np.allclose(got, vectors(llm, inputs), atol=1e-7)


@pytest.mark.parametrize("normalizes", [True, False])
def test_normalize_is_on_unless_switched_off(ask: Ask, fake_llm: Make, normalizes: bool):
    llm = fake_llm("embed", use_activation=normalizes)
    unit, raw = (ask("/embed", {"inputs": "one", **more}, {"m": llm})[0] for more in ({}, {"normalize": False}))
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-6)
    assert np.allclose(raw, vectors(llm, ["one"], normalize=False)[0], atol=1e-6)
    assert np.linalg.norm(raw) != pytest.approx(1, abs=1e-3)


def test_dimensions_and_prompt_name(ask: Ask, fake_llm: Make):
    llm = fake_llm("embed", is_matryoshka=True, policy={"prompts": {"query": "zero "}})
    got = ask("/embed", {"inputs": "one", "dimensions": 4, "prompt_name": "query"}, {"m": llm})
    assert np.allclose(got, vectors(llm, ["zero one"], dimensions=4), atol=1e-7)
    with pytest.raises(InputError, match="prompt_name 'other' is not one of"):
        ask("/embed", {"inputs": "one", "prompt_name": "other"}, {"m": llm})


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, "zero one two three four five six seven"),
        ({"truncate": True, "truncation_direction": "Left"}, "two three four five six seven eight nine"),
    ],
)
def test_long_texts_are_cut(ask: Ask, fake_llm: Make, more: dict[str, Any], kept: str):
    llm = fake_llm("embed")
    assert np.allclose(ask("/embed", {"inputs": LONG, **more}, {"m": llm}), vectors(llm, [kept]), atol=1e-7)


def test_truncate_false_refuses_them(ask: Ask, fake_llm: Make):
    with pytest.raises(InputError, match="maximum context length is 10 tokens"):
        ask("/embed", {"inputs": LONG, "truncate": False}, {"m": fake_llm("embed")})


def test_the_limit_counts_texts_and_not_tokens(ask: Ask, fake_llm: Make):
    llm = fake_llm("embed")
    assert len(ask("/embed", {"inputs": [1, 6, 7, 2]}, {"m": llm}, max_inputs=3)) == 1
    with pytest.raises(TooManyInputs, match="inputs holds 4 items, the limit of one request is 3"):
        ask("/embed", {"inputs": ["one"] * 4}, {"m": llm}, max_inputs=3)


def test_embed_all_answers_every_token(ask: Ask, fake_llm: Make, states: Callable[..., np.ndarray]):
    llm = fake_llm("embed")
    first, second = ask("/embed_all", {"inputs": ["one", "two three"]}, {"m": llm})
    want = [output.outputs.data for output in llm.encode(["one", "two three"], pooling_task="token_embed")]
    assert np.allclose(first, want[0], atol=1e-7)
    assert np.allclose(second, want[1], atol=1e-7)
    assert (len(first), len(second)) == (3, 4)


def test_embed_sparse_answers_the_weights(ask: Ask, fake_llm: Make):
    llm = fake_llm("embed", pooling=("SPLADE",), activation="identity", sparse=SparseHead(kind="splade"))
    got = ask("/embed_sparse", {"inputs": ["one two", "three"]}, {"m": llm})
    for weights, output in zip(got, llm.embed_sparse(["one two", "three"], use_tqdm=False), strict=True):
        assert [item["index"] for item in weights] == output.outputs.indices.tolist()
        assert np.allclose([item["value"] for item in weights], output.outputs.values)
    with pytest.raises(InputError, match="no sparse vectors"):
        ask("/embed_sparse", {"inputs": "one"}, {"m": fake_llm("embed")})


# ------------------------------------------------------------------------------------------------- predict


def test_a_text_is_answered_by_its_labels(ask: Ask, fake_llm: Make):
    llm = fake_llm("classify")
    got = ask("/predict", {"inputs": "one two"}, {"m": llm})
    (output,) = llm.classify("one two", use_tqdm=False)
    want = sorted(zip(output.outputs.probs, "abc", strict=True), reverse=True)
    assert [(item["score"], item["label"]) for item in got] == [(pytest.approx(p), label) for p, label in want]


def test_raw_scores(ask: Ask, fake_llm: Make):
    llm = fake_llm("classify")
    got = ask("/predict", {"inputs": "one two", "raw_scores": True}, {"m": llm})
    assert [item["score"] for item in got] == pytest.approx(sorted(logits(llm, "one two"), reverse=True))


def test_pairs_and_batches(ask: Ask, fake_llm: Make):
    llm = fake_llm("classify", num_labels=1, labels=(), activation="sigmoid")
    ((pair,), (text,)) = ask("/predict", {"inputs": [["one", "two"], ["three"]]}, {"m": llm})
    assert pair["score"] == pytest.approx(llm.score("one", "two", use_tqdm=False)[0].outputs.score)
    assert text["score"] == pytest.approx(llm.classify("three", use_tqdm=False)[0].outputs.probs[0])
    assert ask("/predict", {"inputs": ["one", "two"]}, {"m": llm}) == [pair]
    assert ask("/predict", {"inputs": ["three"]}, {"m": llm}) == [text]
    assert pair["label"] == "LABEL_0"


def test_a_pair_goes_through_the_score_template(ask: Ask, fake_llm: Make):
    template = "{% for m in messages %}{{ m.content }} {% endfor %}eleven"
    llm = fake_llm(
        "classify", num_labels=1, labels=(), activation="sigmoid", policy={"score_template": template}
    )  # fmt: skip
    (got,) = ask("/predict", {"inputs": ["one", "two"]}, {"m": llm})
    assert got["score"] == pytest.approx(llm.classify("one two eleven", use_tqdm=False)[0].outputs.probs[0])


def test_logits_become_probabilities_where_the_model_has_no_activation(ask: Ask, fake_llm: Make):
    llm = fake_llm("classify", activation="identity")
    got = ask("/predict", {"inputs": "one two"}, {"m": llm})
    assert [item["score"] for item in got] == pytest.approx(
        sorted(softmax(logits(llm, "one two")), reverse=True), abs=1e-6
    )


@pytest.mark.parametrize(
    ("parameters", "count", "function"),
    [
        ({}, 3, softmax),
        ({"top_k": 2}, 2, softmax),
        ({"function_to_apply": "sigmoid"}, 3, sigmoid),
        ({"function_to_apply": "none"}, 3, lambda values: values),
    ],
)
def test_parameters_mean_a_client_of_the_hub(
    ask: Ask, fake_llm: Make, parameters: dict[str, Any], count: int, function: Callable[..., np.ndarray]
):
    llm = fake_llm("classify")
    (got,) = ask("/predict", {"inputs": "one two", "parameters": parameters}, {"m": llm})
    want = sorted(function(logits(llm, "one two")), reverse=True)[:count]
    assert [item["score"] for item in got] == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("inputs", [[], ["a", "b", "c"], [["a", "b", "c"]], [[]], [["a"], "b"]])
def test_other_lists_are_refused(ask: Ask, fake_llm: Make, inputs: Any):
    with pytest.raises(BadRequest, match=r"inputs must be a text, a pair .*, got \["):
        ask("/predict", {"inputs": inputs}, {"m": fake_llm("classify")})


# ------------------------------------------------------------------------------------- similarity, info, root


def test_similarity(ask: Ask, fake_llm: Make):
    llm = fake_llm("embed", policy={"prompts": {"query": "zero "}})
    inputs = {"source_sentence": "one", "sentences": ["two", "three", "one"]}
    got = ask("/similarity", {"inputs": inputs}, {"m": llm})
    want = [output.outputs.score for output in llm.score("one", inputs["sentences"], use_tqdm=False)]
    assert got == pytest.approx(want)
    prompted = ask("/similarity", {"inputs": inputs, "parameters": {"prompt_name": "query"}}, {"m": llm})
    spelled = {"source_sentence": "zero one", "sentences": ["zero two", "zero three", "zero one"]}
    assert prompted == ask("/similarity", {"inputs": spelled}, {"m": llm})


def test_similarity_is_for_embedding_models(ask: Ask, fake_llm: Make):
    body: dict[str, Any] = {"inputs": {"source_sentence": "one", "sentences": ["two"]}}
    with pytest.raises(InputError, match="needs an embedding model"):
        ask("/similarity", body, {"m": fake_llm("classify")})
    body["inputs"]["sentences"] = ["two"] * 3
    with pytest.raises(TooManyInputs, match=r"inputs.sentences holds 3 items"):
        ask("/similarity", body, {"m": fake_llm("embed")}, max_inputs=2)


def test_info_describes_the_first_model_and_the_limits(ask: Ask, fake_llm: Make):
    got = ask("/info", None, {"a": fake_llm("embed"), "b": fake_llm("classify")}, max_inputs=7)
    assert got["served_model_name"] == "a"
    assert got["model_id"] == "acme/fake"
    assert got["model_type"] == {"embedding": {"pooling": "mean"}}
    assert (got["max_input_length"], got["max_client_batch_size"]) == (10, 7)
    assert (got["model_dtype"], got["auto_truncate"], got["model_sha"]) == ("float32", True, None)


def test_decode_leaves_special_tokens_out_unless_asked(ask: Ask, tiny_llm: Make):
    llm = tiny_llm("bert", "sequence_1")
    models = {"m": llm}
    (encoded,) = llm.engine.tokenizer.encode([Prompt(text="the river")], [None])
    assert ask("/decode", {"ids": encoded.ids}, models) == ["the river"]
    assert ask("/decode", {"ids": [encoded.ids, encoded.ids[1:-1]], "skip_special_tokens": False}, models) == [
        "[CLS] the river [SEP]",
        "the river",
    ]


def test_decode_refuses_what_is_no_token(ask: Ask, fake_llm: Make):
    models = {"m": fake_llm("embed")}
    with pytest.raises(InputError, match=r"Token id 17 is out of vocabulary"):
        ask("/decode", {"ids": [17]}, models)
    with pytest.raises(TooManyInputs, match="ids holds 3 items, the limit of one request is 2"):
        ask("/decode", {"ids": [[1], [1], [1]]}, models, max_inputs=2)


@pytest.mark.parametrize("ids", [[], [1, [2]]])
def test_ids_are_all_of_one_kind(ask: Ask, fake_llm: Make, ids: Any):
    with pytest.raises(BadRequest, match="ids must be token ids or lists of token ids, got"):
        ask("/decode", {"ids": ids}, {"m": fake_llm("embed")})


@pytest.mark.parametrize(("labels", "kind"), [(("a", "b", "c"), "classifier"), (("x",), "reranker")])
def test_info_of_classifiers_names_their_labels(ask: Ask, fake_llm: Make, labels: tuple[str, ...], kind: str):
    got = ask("/info", None, {"m": fake_llm("classify", labels=labels, num_labels=len(labels))})
    names = {str(index): name for index, name in enumerate(labels)}
    assert got["model_type"] == {kind: {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}}


SPLADE = {"pooling": ("SPLADE",), "activation": "identity", "sparse": SparseHead(kind="splade")}
RANKER = {"num_labels": 1, "labels": (), "activation": "sigmoid"}


@pytest.mark.parametrize(
    ("convert", "spec", "path", "body"),
    [
        ("embed", {}, "/embed", {"inputs": ["one", "two"], "normalize": False}),
        ("embed", {}, "/similarity", {"inputs": {"source_sentence": "one", "sentences": ["two"]}}),
        ("embed", SPLADE, "/embed_sparse", {"inputs": "one"}),
        ("classify", {}, "/predict", {"inputs": "one", "raw_scores": True}),
        ("classify", {}, "/predict", {"inputs": "one", "parameters": {}}),
        ("classify", RANKER, "/rerank", {"query": "one", "texts": ["two", "three"], "return_text": True}),
    ],
)
def test_the_root_is_the_route_of_the_model(
    ask: Ask, fake_llm: Make, convert: str, spec: dict[str, Any], path: str, body: dict[str, Any]
):
    llm = fake_llm(convert, **spec)
    assert ask("/", body, {"m": llm}) == ask(path, body, {"m": llm})


@pytest.mark.parametrize(
    ("body", "words"),
    [({}, "give inputs, or query and texts"), ({"inputs": ["one", 5]}, "inputs"), ({"query": "one"}, "give inputs")],
)
def test_the_root_refuses_what_its_route_refuses(ask: Ask, fake_llm: Make, body: dict[str, Any], words: str):
    with pytest.raises(BadRequest, match=words):
        ask("/", body, {"m": fake_llm("classify")})


def test_top_k_keeps_at_least_one(ask: Ask, fake_llm: Make):
    with pytest.raises(BadRequest, match=r"parameters.top_k: expected an integer .at least 1., or null, got 0"):
        ask("/predict", {"inputs": "one", "parameters": {"top_k": 0}}, {"m": fake_llm("classify")})
