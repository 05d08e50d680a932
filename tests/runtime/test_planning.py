from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_export.runtime.planning import Batch, default_tokens, fill_batch, plan_batches

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


@given(lengths_of_texts, budgets, row_limits, st.integers(1, 4))
def test_streams_change_neither_the_limits_nor_the_texts(
    lengths: list[int], max_tokens: int, max_rows: int, streams: int
):
    plan = plan_batches(lengths, max_tokens=max_tokens, max_rows=max_rows, streams=streams)
    assert sorted(row for batch in plan for row in batch.rows) == list(range(len(lengths)))
    assert all(batch.tokens <= max_tokens or len(batch.rows) == 1 for batch in plan)


@pytest.mark.parametrize(
    ("texts", "streams", "expected"),
    [
        (8, 1, [8]),
        (8, 2, [4, 4]),
        (12, 2, [6, 6]),
        (13, 1, [12, 1]),
        (26, 2, [7, 7, 7, 5]),  # two rounds, and not 12, 12, 2
        (3, 4, [1, 1, 1]),
    ],
)
def test_streams_get_as_much_to_do(texts: int, streams: int, expected: list[int]):
    plan = plan_batches([40] * texts, max_tokens=512, max_rows=64, streams=streams)
    assert [len(batch.rows) for batch in plan] == expected


def test_texts_of_different_lengths_stay_apart_where_there_are_streams_for_them():
    lengths = [120, 60, 50, 48, 40]
    rows = [batch.rows for batch in plan_batches(lengths, max_tokens=512, max_rows=64, streams=2)]
    assert rows == [(0,), (1, 2), (3, 4)]  # of the three shorter ones together 22 of 180 tokens would be padding
    assert [batch.rows for batch in plan_batches(lengths, max_tokens=512, max_rows=64)] == [(0, 1, 2, 3), (4,)]


def test_what_is_tiny_is_not_shared():
    assert [batch.rows for batch in plan_batches([6, 7], max_tokens=512, max_rows=64, streams=2)] == [(1, 0)]


def test_no_texts_need_no_batch():
    assert plan_batches([], max_tokens=8, max_rows=8, streams=2) == []


def test_a_hand_sized_plan():
    plan = plan_batches([3, 9, 4, 3], max_tokens=8, max_rows=2)
    assert plan == [Batch((1,), 9), Batch((2, 0), 4), Batch((3,), 3)]
    assert [batch.tokens for batch in plan] == [9, 8, 3]


@given(lengths_of_texts, budgets, st.integers(1, 5000))
def test_no_batch_is_larger_than_what_fits(lengths: list[int], max_tokens: int, bound: int):
    def fits(rows: int, length: int) -> bool:
        return rows * length * length <= bound

    plan = plan_batches(lengths, max_tokens=max_tokens, max_rows=64, fits=fits)
    assert sorted(row for batch in plan for row in batch.rows) == list(range(len(lengths)))
    assert all(fits(len(batch.rows), batch.length) or len(batch.rows) == 1 for batch in plan)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=80), st.data())
def test_waiting_texts_join_within_every_limit(lengths: list[int], data: st.DataObject):
    lengths = sorted(lengths)
    first = data.draw(st.integers(0, len(lengths) - 1))
    max_tokens, max_rows, bound = data.draw(budgets), data.draw(row_limits), data.draw(st.integers(1, 10**6))
    start, stop = fill_batch(
        lengths, first, max_tokens=max_tokens, max_rows=max_rows, fits=lambda rows, length: rows * length**2 <= bound
    )
    rows, padded = stop - start, (stop - start) * lengths[stop - 1]
    assert start <= first < stop
    assert rows == 1 or (rows <= max_rows and padded <= max_tokens and padded * lengths[stop - 1] <= bound)
    assert rows == 1 or padded <= max_tokens / 16 or sum(lengths[start:stop]) >= 0.9 * padded


def test_a_waiting_text_takes_its_equals_along_and_leaves_the_others():
    assert fill_batch([10, 40, 40, 40, 200], 2, max_tokens=512, max_rows=64) == (1, 4)
    assert fill_batch([3, 5, 6, 200], 0, max_tokens=512, max_rows=64) == (0, 3)  # padding of a few tokens is free


def test_a_cpu_batch_grows_with_its_threads():
    assert [default_tokens(on_cpu=True, threads=threads) for threads in (1, 4)] == [512, 2048]
    assert [default_tokens(on_cpu=True, threads=2, precision=name) for name in ("int8", "bf16")] == [1024, 2048]
    assert default_tokens(on_cpu=False, threads=1) == default_tokens(on_cpu=False, threads=8) == 8192


@pytest.mark.parametrize(
    ("lengths", "first", "max_tokens", "max_rows", "expected"),
    [
        ([7], 0, 100, 8, (0, 1)),
        ([5, 5, 5, 5], 1, 100, 8, (0, 4)),
        ([5, 5, 5, 5], 1, 100, 2, (0, 2)),  # the shorter neighbour first: it adds no padding
        ([5, 5, 5, 5], 1, 10, 8, (0, 2)),
        ([900], 0, 100, 8, (0, 1)),  # longer than a batch: alone
        ([1, 1, 900, 900], 2, 10_000, 8, (2, 4)),  # a short text beside long ones is mostly padding
        ([1, 2, 60, 64], 0, 10_000, 8, (0, 4)),  # padding of a few tokens is free
        ([380, 390, 400, 600], 1, 10_000, 8, (0, 3)),
    ],
)
def test_hand_sized_batches(lengths: list[int], first: int, max_tokens: int, max_rows: int, expected: tuple[int, int]):
    assert fill_batch(lengths, first, max_tokens=max_tokens, max_rows=max_rows) == expected
