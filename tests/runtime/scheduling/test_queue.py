"""The fair queue by hand-sized cases, and its counts under any order of operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_export.runtime.scheduling.call import Call
from pool_export.runtime.scheduling.queue import FairQueue, Item, Ticket
from pool_export.runtime.tokens import Encoded

Make = Callable[..., Ticket]
ROOM = 10**9


@pytest.fixture(autouse=True)
def _text_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take turns of one text, so that small cases show the order."""
    monkeypatch.setattr("pool_export.runtime.scheduling.queue._TURN", 1)


def firsts(batch: list[Item]) -> list[int]:
    return [item.encoded.ids[0] for item in batch]


def drained(queue: FairQueue, max_tokens: int = ROOM, max_rows: int = 1) -> list[int]:
    found: list[int] = []
    while batch := queue.pick(max_tokens, max_rows):
        found += firsts(batch)
    return found


def test_one_text_of_a_new_caller_is_not_behind_all_of_another(ticket: Make) -> None:
    queue = FairQueue()
    queue.put(ticket([10] * 100, first=0))
    assert firsts(queue.pick(ROOM, 1)) == [0]
    queue.put(ticket([10], first=500))
    assert firsts(queue.pick(ROOM, 1)) == [500]


def test_two_callers_share_by_tokens_not_by_texts(ticket: Make) -> None:
    queue = FairQueue()
    queue.put(ticket([30] * 3, first=100))
    queue.put(ticket([10] * 9, first=200))
    order = drained(queue)
    # After 90 tokens of each, both are done; on the way, neither is ever 30 tokens behind.
    assert order == [100, 200, 201, 202, 101, 203, 204, 205, 102, 206, 207, 208]


def test_a_turn_is_about_a_batch(ticket: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool_export.runtime.scheduling.queue._TURN", 30)
    queue = FairQueue()
    queue.put(ticket([10] * 6, first=100))
    queue.put(ticket([10] * 6, first=200))
    assert drained(queue) == [100, 101, 102, 200, 201, 202, 103, 104, 105, 203, 204, 205]


def test_a_stream_of_newcomers_does_not_starve_an_older_caller(ticket: Make) -> None:
    queue = FairQueue()
    queue.put(ticket([10] * 4, first=0))
    served: list[int] = []
    for newcomer in range(100, 200):
        queue.put(ticket([10], first=newcomer))
        served += firsts(queue.pick(ROOM, 1))
    # Each pass has newcomers to choose, more than it can serve; the four old texts ran all the same, in between.
    assert [number for number in served if number < 100] == [0, 1, 2, 3]
    assert served.index(3) > 10


def test_a_newcomer_waits_for_one_batch_however_far_riders_ran_ahead(ticket: Make) -> None:
    queue = FairQueue()
    # Lengths in turn: every batch of one length takes along texts whose own turn would come much later.
    queue.put(ticket([10, 200, 900] * 30, first=0))
    for _ in range(2):
        assert len(queue.pick(ROOM, 8)) == 8
    queue.put(ticket([50], first=500))
    assert 500 in firsts(queue.pick(ROOM, 8)) + firsts(queue.pick(ROOM, 8))


def test_a_batch_takes_those_that_are_nearest_in_length(ticket: Make) -> None:
    queue = FairQueue()
    queue.put(ticket([400, 10, 390, 12, 200], first=0))
    assert sorted(firsts(queue.pick(1000, 8))) == [0, 2]
    assert sorted(firsts(queue.pick(1000, 8))) == [1, 3]
    assert firsts(queue.pick(1000, 8)) == [4]


def test_other_outputs_and_images_are_other_batches(ticket: Make) -> None:
    queue = FairQueue()
    queue.put(ticket([1, 1], first=10))
    queue.put(ticket([1], first=20, outputs=("other",)))
    queue.put(Ticket([Encoded([30], [0], image=object())], ("out",), [1], Call()))
    batches = [sorted(firsts(queue.pick(ROOM, 9))) for _ in range(3)]
    assert batches == [[10, 11], [20], [30]]
    assert queue.pick(ROOM, 9) == []


def test_an_input_longer_than_a_batch_runs_alone(ticket: Make) -> None:
    queue = FairQueue()
    queue.put(ticket([900, 5], first=0))
    assert firsts(queue.pick(100, 8)) == [0]
    assert firsts(queue.pick(100, 8)) == [1]


def test_what_is_dropped_does_not_run_and_is_not_counted(ticket: Make) -> None:
    queue = FairQueue()
    gone, stays = ticket([5, 500], first=0), ticket([7], first=100)
    queue.put(gone)
    queue.put(stays)
    assert (len(queue), queue.tokens) == (3, 512)
    assert queue.drop(gone) == 2
    assert queue.drop(gone) == 0
    assert (len(queue), queue.tokens, queue.tickets()) == (1, 7, [stays])
    assert drained(queue) == [100]
    assert (len(queue), queue.tokens, queue.tickets()) == (0, 0, [])


def test_dropped_turns_do_not_pile_up(ticket: Make) -> None:
    queue = FairQueue()
    queue.put(ticket([1] * 10, first=0))
    for _ in range(50):
        gone = ticket([1000] * 20, first=100)
        queue.put(gone)
        queue.drop(gone)
    assert len(queue._turns) <= 2 * len(queue)
    assert drained(queue) == list(range(10))


def test_an_answer_is_the_rows_in_order(ticket: Make) -> None:
    waiting = ticket([1, 1, 1])
    assert [waiting.put(index, {"out": index}) for index in (2, 0)] == [False, False]
    assert waiting.put(1, {"out": 1}) is True
    waiting.complete()
    waiting.fail(ValueError("too late"))
    assert [row["out"] for row in waiting.answer.result(0)] == [0, 1, 2]


def test_the_first_error_of_a_ticket_stays(ticket: Make) -> None:
    waiting = ticket([1])
    waiting.fail(ValueError("first"))
    waiting.fail(ValueError("second"))
    waiting.put(0, {"out": 0})
    waiting.complete()
    with pytest.raises(ValueError, match="first"):
        waiting.answer.result(0)


Weights = st.lists(st.integers(1, 40), min_size=1, max_size=6)
Steps = st.lists(st.one_of(Weights, st.just("pick"), st.integers(0, 5)), max_size=40)


@given(steps=Steps, max_tokens=st.integers(1, 100), max_rows=st.integers(1, 5))
def test_every_input_comes_out_once_or_was_dropped(steps: list[Any], max_tokens: int, max_rows: int) -> None:
    queue, tickets, out, dropped = FairQueue(), [], [], 0
    for step in [*steps, *["pick"] * 300]:
        if step == "pick":
            batch = queue.pick(max_tokens, max_rows)
            longest = max((item.weight for item in batch), default=0)
            assert len(batch) <= max_rows
            assert len(batch) == 1 or longest * len(batch) <= max_tokens
            out += [(id(item.ticket), item.index) for item in batch]
        elif isinstance(step, list):
            tickets.append(Ticket([Encoded([1] * n, [0] * n) for n in step], ("out",), step, Call()))
            queue.put(tickets[-1])
        elif tickets:
            dropped += queue.drop(tickets[step % len(tickets)])
    assert len(set(out)) == len(out)
    assert len(out) + dropped == sum(len(ticket.inputs) for ticket in tickets)
    assert (len(queue), queue.tokens, queue.tickets(), queue._lanes) == (0, 0, [], {})
