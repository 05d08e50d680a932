"""`embed_sparse`, `embed_all` and late-interaction `score`, over a graph of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from pool_export.poolers.parts import Expansion, HeadStep, LateInteraction, SparseHead, TextSide
from pool_export.runtime.errors import InputError

SPLADE = {"pooling": ("SPLADE",), "use_activation": False, "embedding_size": 6, "sparse": SparseHead(kind="splade")}
LATE = LateInteraction(
    query=TextSide(marker_id=4),
    document=TextSide(skips=True, max_length=6),
    expansion=Expansion(length=6, token_id=3),
    skiplist_token_ids=(7,),
)
BGE_M3 = {
    "pooling": ("CLS",),
    "sparse": SparseHead(kind="token_weights", special_token_ids=(0, 1, 2, 3)),
    "late_interaction": LateInteraction(steps=(HeadStep(kind="dense", path="x.pt"),), skips_first=True),
}
TEXTS = ["one two three", "four", "one one two five"]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


# -------------------------------------------------------------------------------------------------- sparse


def test_splade_answers_words_and_weights(fake_llm, states):
    llm = fake_llm(**SPLADE)
    (found,) = llm.embed_sparse("one two", use_tqdm=False)
    wanted = np.log1p(np.maximum(states([1, 6, 7, 2]).max(axis=0), 0)).astype(np.float32)
    output = found.outputs
    assert (found.prompt_token_ids, output.size) == ([1, 6, 7, 2], 6)
    np.testing.assert_allclose(output.values, wanted[output.indices])
    assert output.indices.tolist() == np.flatnonzero(wanted).tolist()
    assert list(output.token_weights.values()) == sorted(output.values.tolist(), reverse=True)
    first = output.tokens[output.indices.tolist().index(int(wanted.argmax()))]
    assert next(iter(output.token_weights)) == first
    np.testing.assert_allclose(llm.embed("one two")[0].outputs.data, wanted)
    np.testing.assert_allclose(llm.encode("one two", pooling_task="sparse_embed")[0].outputs.data, wanted)


def test_splade_keeps_the_largest(fake_llm):
    llm = fake_llm(**SPLADE)
    (full,), (top,) = llm.embed_sparse("one two"), llm.embed_sparse("one two", max_active_dims=2)
    assert list(top.outputs.token_weights.items()) == list(full.outputs.token_weights.items())[:2]
    declared = fake_llm(**{**SPLADE, "sparse": SparseHead(kind="splade", max_active_dims=2)})
    assert declared.embed_sparse("one two")[0].outputs.token_weights == top.outputs.token_weights
    assert np.count_nonzero(declared.embed("one two")[0].outputs.data) == 2


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_splade_scores_by_its_similarity(fake_llm, similarity):
    llm = fake_llm(**{**SPLADE, "sparse": SparseHead(kind="splade", similarity=similarity)})
    left, *right = (item.outputs.data.astype(np.float64) for item in llm.embed(TEXTS, use_tqdm=False))
    for item, vector in zip(llm.score(TEXTS[0], TEXTS[1:], use_tqdm=False), right, strict=True):
        norm = 1 if similarity == "dot" else np.linalg.norm(left) * np.linalg.norm(vector)
        assert item.outputs.score == pytest.approx(float(left @ vector) / norm, rel=1e-5)


def test_a_wide_vocabulary_makes_small_batches(fake_llm):
    llm = fake_llm(**{**SPLADE, "embedding_size": 2**26})
    llm.embed(["one two", "one", "two"], use_tqdm=False)
    *batches, giving_back = [shape for shape, _ in llm.engine.session.calls]
    assert batches == [(1, 4), (1, 3), (1, 3)]
    assert giving_back == (1, 1)  # every text was longer than a batch may be


def test_what_has_no_sparse_vectors_says_so(fake_llm):
    with pytest.raises(InputError, match=r"This model has no sparse vectors\. Supported tasks: embed"):
        fake_llm().embed_sparse("one")
    with pytest.raises(InputError, match="max_active_dims must be 1 or more"):
        fake_llm(**SPLADE).embed_sparse("one", max_active_dims=0)


# ------------------------------------------------------------------------------------------ three heads at once


def test_all_vectors_come_from_one_pass(fake_llm, states):
    llm = fake_llm(**BGE_M3)
    found = llm.embed_all(TEXTS, use_tqdm=False)
    assert len(llm.engine.session.calls) == 1
    sparse = llm.embed_sparse(TEXTS, use_tqdm=False)
    dense = llm.embed(TEXTS, use_tqdm=False)
    tokens = llm.encode(TEXTS, pooling_task="token_embed", use_tqdm=False)
    for row, one, weights, vectors in zip(found, dense, sparse, tokens, strict=True):
        np.testing.assert_array_equal(row.outputs.dense.data, one.outputs.data)
        assert row.outputs.sparse.token_weights == weights.outputs.token_weights
        np.testing.assert_array_equal(row.outputs.tokens, vectors.outputs.data)
    ids = found[2].prompt_token_ids
    assert ids == [1, 6, 6, 7, 10, 2]
    np.testing.assert_allclose(found[2].outputs.tokens, unit(states(ids)[:, ::-1])[1:], atol=1e-6)
    weights = {i: max(0.0, states([i])[0, 0]) for i in (6, 7, 10)}
    assert found[2].outputs.sparse.indices.tolist() == [i for i, weight in weights.items() if weight > 0]
    assert found[2].outputs.sparse.size == 0


def test_a_kind_the_model_has_not_is_none(fake_llm):
    (plain,) = fake_llm().embed_all("one")
    assert (plain.outputs.sparse, plain.outputs.tokens) == (None, None)
    assert plain.outputs.dense is not None
    (sparse,) = fake_llm(**SPLADE).embed_all("one")
    assert (sparse.outputs.dense, sparse.outputs.tokens) == (None, None)
    (late,) = fake_llm(pooling=("ALL",)).embed_all("one")
    assert (late.outputs.dense, late.outputs.sparse, late.outputs.tokens.shape) == (None, None, (3, 6))
    with pytest.raises(InputError, match="Embedding API is not supported"):
        fake_llm("classify").embed_all("one")


def test_a_request_changes_the_dense_vector_alone(fake_llm):
    llm = fake_llm(**{**BGE_M3, "use_activation": True})
    from pool_export import PoolingParams

    with pytest.raises(InputError, match="unnormalized_embedding"):  # the fake graph has none
        llm.embed_all("one", pooling_params=PoolingParams(use_activation=False))
    with pytest.raises(InputError, match="holds normalised token vectors only"):
        llm.encode("one", PoolingParams(use_activation=False), pooling_task="token_embed")


# ---------------------------------------------------------------------------------------- late interaction


def test_score_reads_queries_and_documents_as_declared(fake_llm, states):
    llm = fake_llm(pooling=("ALL",), late_interaction=LATE)
    found = llm.score("one", ["two three", "four five six seven eight"], use_tqdm=False)
    query = unit(states([1, 4, 6, 2, 3, 3]))
    documents = [[1, 8, 2], [1, 9, 10, 11, 12, 2]]  # "two" is skipped; the second is cut at six
    for item, ids in zip(found, documents, strict=True):
        wanted = (query @ unit(states(ids)).T).max(axis=1).sum()
        assert item.outputs.score == pytest.approx(float(wanted), rel=1e-5)
    assert [item.request_id for item in found] == ["0_0", "0_1"]
    assert found[0].prompt_token_ids == [1, 4, 6, 2, 3, 3, 0, 1, 7, 8, 2]


def test_score_reads_both_alike_where_nothing_is_declared(fake_llm, states):
    llm = fake_llm(pooling=("ALL",))
    (found,) = llm.score("one", "two three", use_tqdm=False)
    wanted = (unit(states([1, 6, 2])) @ unit(states([1, 7, 8, 2])).T).max(axis=1).sum()
    assert found.outputs.score == pytest.approx(float(wanted), rel=1e-5)


def test_encode_reads_a_side_when_it_is_named(fake_llm):
    llm = fake_llm(pooling=("ALL",), late_interaction=LATE)

    def rows(**options):
        (found,) = llm.encode("two three", pooling_task="token_embed", **options)
        return found.prompt_token_ids, len(found.outputs.data)

    assert rows() == ([1, 7, 8, 2], 4)
    assert rows(input_type="query") == ([1, 4, 7, 8, 2, 3], 6)
    assert rows(input_type="document") == ([1, 7, 8, 2], 3)
    with pytest.raises(InputError, match="with special tokens"):
        rows(input_type="query", tokenization_kwargs={"add_special_tokens": False})
    with pytest.raises(InputError, match="declares nothing"):
        fake_llm().encode("one", pooling_task="token_embed", input_type="query")
