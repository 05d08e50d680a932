"""Sparse vectors on the host, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_export.poolers.parts import SparseHead
from pool_export.runtime.errors import InputError
from pool_export.runtime.sparse import check_max_active_dims, keep_largest, similarity, to_sparse

SPLADE = SparseHead(kind="splade")
LEXICAL = SparseHead(kind="token_weights", special_token_ids=(0, 2))
ROW = np.array([0.0, 0.5, 0.0, 2.0, 0.25, 1.0], np.float32)


def pairs(sparse):
    return dict(zip(sparse[0].tolist(), sparse[1].tolist(), strict=True))


def test_a_row_becomes_its_non_zero_entries():
    indices, values = to_sparse(SPLADE, ROW, [1, 2])
    assert (indices.dtype, values.dtype) == (np.int64, np.float32)
    assert (indices.tolist(), values.tolist()) == ([1, 3, 4, 5], [0.5, 2.0, 0.25, 1.0])


def test_token_weights_become_the_largest_of_each_token_without_the_special_ones():
    """FlagEmbedding: token 7 stands twice, 0 and 2 are special, and 9 weighs nothing."""
    found = to_sparse(LEXICAL, np.array([5.0, 0.25, 0.5, 0.75, 0.0, 9.0], np.float32), [0, 7, 8, 7, 9, 2])
    assert pairs(found) == {7: 0.75, 8: 0.5}


def test_the_largest_are_kept_in_the_order_of_their_indices():
    assert pairs(to_sparse(SPLADE, ROW, [], 2)) == {3: 2.0, 5: 1.0}
    assert to_sparse(SPLADE, ROW, [], 2)[0].tolist() == [3, 5]
    assert len(to_sparse(SPLADE, ROW, [], 99)[0]) == 4
    assert pairs(to_sparse(SparseHead(kind="splade", max_active_dims=1), ROW, [])) == {3: 2.0}
    assert len(to_sparse(SparseHead(kind="splade", max_active_dims=1), ROW, [], 3)[0]) == 3
    assert keep_largest(ROW, 2).tolist() == [0, 0, 0, 2.0, 0, 1.0]
    assert keep_largest(ROW, None) is ROW


def test_an_empty_text_has_no_weights():
    assert pairs(to_sparse(SPLADE, np.zeros(4, np.float32), [1])) == {}
    assert pairs(to_sparse(LEXICAL, np.ones(2, np.float32), [0, 2])) == {}


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
def test_a_number_of_dimensions_that_is_none_is_refused(value):
    with pytest.raises(InputError, match="max_active_dims must be 1 or more"):
        check_max_active_dims(value)


@given(st.lists(st.floats(0, 4, width=16), min_size=6, max_size=6), st.lists(st.floats(0, 4), min_size=6, max_size=6))
def test_products_are_those_of_the_dense_vectors(left, right):
    a, b = (np.asarray(row, np.float32) for row in (left, right))
    sparse = to_sparse(SPLADE, a, []), to_sparse(SPLADE, b, [])
    assert similarity(*sparse, "dot") == pytest.approx(float(a.astype(float) @ b.astype(float)))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    wanted = float(a.astype(float) @ b.astype(float)) / norms if norms else 0.0
    assert similarity(*sparse, "cosine") == pytest.approx(wanted, rel=1e-5)
