from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pool_export.runtime.planning import Batch, plan_batches

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
