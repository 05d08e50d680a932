from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_export.runtime.errors import InputError
from pool_export.runtime.pairs import pair_prompt
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.scoring import pair_up
from pool_export.runtime.similarity import cosine


@given(st.integers(1, 20))
def test_one_query_meets_every_document(count: int):
    assert pair_up(["q"], ["d"] * count) == [(0, index) for index in range(count)]


@given(st.integers(1, 20))
def test_equal_counts_pair_by_position(count: int):
    assert pair_up(["q"] * count, ["d"] * count) == [(index, index) for index in range(count)]


@pytest.mark.parametrize(("queries", "documents"), [(2, 1), (2, 3), (3, 2)])
def test_any_other_cardinality_is_refused_with_both_counts(queries: int, documents: int):
    with pytest.raises(InputError, match="Input lengths must be either 1:1, 1:N or N:N") as caught:
        pair_up(["q"] * queries, ["d"] * documents)
    assert f"{queries} queries and {documents} documents" in str(caught.value)


def test_cosine_ignores_length_and_knows_direction():
    left = np.array([3.0, 4.0], np.float32)
    assert cosine(left, left * 7) == pytest.approx(1)
    assert cosine(left, -left) == pytest.approx(-1)
    assert cosine(left, np.array([-4.0, 3.0], np.float32)) == pytest.approx(0, abs=1e-7)
    assert cosine(left, np.array([1.0, 0.0], np.float32)) == pytest.approx(0.6)


def test_cosine_with_a_zero_vector_is_zero_and_not_nan():
    zero = np.zeros(3, np.float32)
    assert cosine(zero, zero) == 0
    assert cosine(zero, np.ones(3, np.float32)) == 0


def test_a_pair_goes_to_the_tokenizer_as_a_pair_or_as_one_text():
    assert pair_prompt("q", "d", "pair") == Prompt(text="q", pair="d")
    assert pair_prompt("q", "d", "concat") == Prompt(text="qd")
