from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_export.runtime.planning import Batch, fill_batch, plan_batches

lengths_of_texts = st.lists(st.integers(1, 600), max_size=80)
budgets = st.integers(1, 4096)
row_limits = st.integers(1, 70)


@given(lengths_of_texts, budgets, row_limits)
def test_every_text_is_in_exactly_one_batch(lengths: list[int], max_tokens: int, max_rows: int):
    plan = plan_batches(lengths, max_tokens=max_tokens, max_rows=max_rows)
    assert sorted(row for batch in plan for row in batch.rows) == list(range(len(lengths)))


@given(lengths_of_texts, budgets, row_limits)
def test_the_token_budget_holds_unless_one_text_alone_exceeds_it(lengths: list[int], max_tokens: int, max_rows: int):
    for batch in plan_batches(lengths, max_tokens=max_tokens, max_rows=max_rows):
        assert batch.tokens <= max_tokens or len(batch.rows) == 1


@given(lengths_of_texts, budgets, row_limits)
def test_no_batch_has_too_many_rows(lengths: list[int], max_tokens: int, max_rows: int):
    plan = plan_batches(lengths, max_tokens=max_tokens, max_rows=max_rows)
    assert all(1 <= len(batch.rows) <= max_rows for batch in plan)


@given(lengths_of_texts, budgets, row_limits)
def test_a_batch_is_as_long_as_its_longest_text(lengths: list[int], max_tokens: int, max_rows: int):
    for batch in plan_batches(lengths, max_tokens=max_tokens, max_rows=max_rows):
        assert batch.length == max(lengths[row] for row in batch.rows)


@given(lengths_of_texts, budgets, row_limits)
def test_texts_run_from_long_to_short_and_equals_in_order(lengths: list[int], max_tokens: int, max_rows: int):
    plan = plan_batches(lengths, max_tokens=max_tokens, max_rows=max_rows)
    order = [row for batch in plan for row in batch.rows]
    assert order == sorted(order, key=lambda row: (-lengths[row], row))


@given(lengths_of_texts, budgets, row_limits)
def test_a_batch_is_as_full_as_the_limits_allow(lengths: list[int], max_tokens: int, max_rows: int):
    plan = plan_batches(lengths, max_tokens=max_tokens, max_rows=max_rows)
    for batch in plan[:-1]:
        assert len(batch.rows) == max_rows or (len(batch.rows) + 1) * batch.length > max_tokens


def test_no_texts_need_no_batch():
    assert plan_batches([], max_tokens=8, max_rows=8) == []


def test_a_hand_sized_plan():
    plan = plan_batches([3, 9, 4, 3], max_tokens=8, max_rows=2)
    assert plan == [Batch((1,), 9), Batch((2, 0), 4), Batch((3,), 3)]
    assert [batch.tokens for batch in plan] == [9, 8, 3]


waiting_texts = st.lists(st.integers(1, 600), min_size=1, max_size=60).map(sorted)


@given(waiting_texts, st.integers(0, 59), budgets, row_limits)
def test_a_filled_batch_holds_the_first_and_keeps_the_limits(
    lengths: list[int], turn: int, max_tokens: int, max_rows: int
):
    first = turn % len(lengths)
    start, stop = fill_batch(lengths, first, max_tokens=max_tokens, max_rows=max_rows)
    assert 0 <= start <= first < stop <= len(lengths)
    padded, real = lengths[stop - 1] * (stop - start), sum(lengths[start:stop])
    assert stop - start <= max_rows
    assert stop - start == 1 or padded <= max_tokens
    assert padded <= 256 or padded - real <= 0.2 * padded


@pytest.mark.parametrize(
    ("lengths", "first", "max_tokens", "max_rows", "expected"),
    [
        ([7], 0, 100, 8, (0, 1)),
        ([5, 5, 5, 5], 1, 100, 8, (0, 4)),
        ([5, 5, 5, 5], 1, 100, 2, (0, 2)),  # the shorter neighbour first: it adds no padding
        ([5, 5, 5, 5], 1, 10, 8, (0, 2)),
        ([900], 0, 100, 8, (0, 1)),  # longer than a batch: alone
        ([1, 1, 900, 900], 2, 10_000, 8, (2, 4)),  # a short text beside long ones is mostly padding
        ([1, 2, 60, 64], 0, 10_000, 8, (0, 4)),  # up to 256 padded tokens, padding is free
        ([380, 390, 400, 500], 1, 10_000, 8, (0, 4)),
    ],
)
def test_hand_sized_batches(lengths: list[int], first: int, max_tokens: int, max_rows: int, expected: tuple[int, int]):
    assert fill_batch(lengths, first, max_tokens=max_tokens, max_rows=max_rows) == expected
