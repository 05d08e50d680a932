"""The scheduler with an engine that can fail, lie and wait: nothing is lost, and nobody pays for another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_export.runtime.errors import RuntimeFailure
from pool_export.runtime.scheduling.call import Call, Cancelled, DeadlineExceeded, Overloaded, Stopping
from pool_export.runtime.scheduling.queue import Ticket
from pool_export.runtime.scheduling.scheduler import BatchReport, QueueLimits, Scheduler
from pool_export.runtime.scheduling.shared import SharedEngine
from pool_export.runtime.tokens import Encoded

POISON, NOT_A_NUMBER = 666, 777
Make = Callable[..., Scheduler]
Inputs = Callable[..., list[Encoded]]


def answers(scheduler: Scheduler, ticket: Ticket) -> list[float]:
    return [float(row["out"][0]) for row in scheduler.wait(ticket)]


def held(scheduler: Scheduler, engine: Any, inputs: Inputs) -> Ticket:
    """Occupy the engine: what is submitted from now on waits until `engine.open` is set."""
    engine.open.clear()
    engine.entered.clear()
    ticket = scheduler.submit(inputs(0), ("out",), Call())
    assert engine.entered.wait(20)
    return ticket


def test_rows_come_in_the_order_of_the_inputs(engine: Any, make_scheduler: Make) -> None:
    scheduler = make_scheduler(engine)
    texts = [Encoded([number] * length, [0] * length) for number, length in enumerate((9, 1, 30, 2, 9, 64, 70))]
    assert answers(scheduler, scheduler.submit(texts, ("out",), Call())) == list(range(7))


def test_callers_share_a_batch(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    reports: list[BatchReport] = []
    scheduler = make_scheduler(engine, None, reports.append)
    first = held(scheduler, engine, inputs)
    tickets = [scheduler.submit(inputs(number, length=4), ("out",), Call()) for number in (1, 2, 3)]
    engine.open.set()
    assert [answers(scheduler, ticket) for ticket in (first, *tickets)] == [[0], [1], [2], [3]]
    assert sorted(engine.batches[1]) == [1, 2, 3]
    assert (reports[1].rows, reports[1].tokens, reports[1].padded, reports[1].calls) == (3, 12, 12, 3)


def test_a_batch_is_alone_while_nothing_else_waits_or_runs(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    engine.streams = 2
    scheduler = make_scheduler(engine)
    first = held(scheduler, engine, inputs)
    engine.entered.clear()
    beside = scheduler.submit(inputs(1), ("out",), Call())
    assert engine.entered.wait(20)
    engine.open.set()
    for ticket in (first, beside, scheduler.submit(inputs(2), ("out",), Call())):
        scheduler.wait(ticket)
    assert engine.alone[:2] == [True, False]
    engine.alone.clear()
    scheduler.wait(scheduler.submit([*inputs(*range(8)), *inputs(8)], ("out",), Call()))  # eight to a batch
    assert engine.alone[0] is False


@pytest.mark.parametrize("bad", [POISON, NOT_A_NUMBER])
def test_a_bad_text_fails_its_own_request_only(engine: Any, make_scheduler: Make, inputs: Inputs, bad: int) -> None:
    scheduler = make_scheduler(engine)
    held(scheduler, engine, inputs)
    good, mixed, other = (scheduler.submit(inputs(*numbers), ("out",), Call()) for numbers in ((1, 2), (3, bad), (5,)))
    engine.open.set()
    assert answers(scheduler, good) == [1, 2]
    assert answers(scheduler, other) == [5]
    with pytest.raises((ValueError, RuntimeFailure)):
        scheduler.wait(mixed)
    assert scheduler.is_healthy
    assert scheduler.queued_rows == 0


def test_the_rest_of_a_failed_request_does_not_run(make_scheduler: Make, engine: Any, inputs: Inputs) -> None:
    engine.config = type(engine.config)(max_batch_size=1)
    scheduler = make_scheduler(engine)
    ticket = scheduler.submit(inputs(NOT_A_NUMBER, 2, 3), ("out",), Call())
    with pytest.raises(RuntimeFailure):
        scheduler.wait(ticket)
    assert answers(scheduler, scheduler.submit(inputs(9), ("out",), Call())) == [9]
    assert engine.batches == [[NOT_A_NUMBER], [9]]


@pytest.mark.parametrize("how", ["raises", "not finite"])
def test_failures_in_a_row_are_ill_health_and_a_success_ends_it(
    engine: Any, make_scheduler: Make, inputs: Inputs, how: str
) -> None:
    scheduler = make_scheduler(engine)
    engine.is_broken = how == "raises"
    for _ in range(3):
        assert scheduler.is_healthy
        # Three bad rows of one request are one failed pass.
        ticket = scheduler.submit(inputs(*[NOT_A_NUMBER] * 3), ("out",), Call())
        with pytest.raises((ValueError, RuntimeFailure)):
            scheduler.wait(ticket)
    assert not scheduler.is_healthy
    engine.is_broken = False
    assert answers(scheduler, scheduler.submit(inputs(1), ("out",), Call())) == [1]
    assert scheduler.is_healthy


def _eventually(holds: Callable[[], bool]) -> bool:
    """Whether something becomes true that the scheduler's thread does right after it has answered."""
    pause = threading.Event()
    return any(holds() or pause.wait(0.005) for _ in range(2000)) and holds()


def test_a_full_queue_refuses_and_says_when_to_come_again(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    scheduler = make_scheduler(engine, QueueLimits(max_tokens=100))
    held(scheduler, engine, inputs)
    # Into an empty queue anything goes.
    waiting = scheduler.submit(inputs(1, length=150), ("out",), Call())
    with pytest.raises(Overloaded, match=r"150 tokens wait, this request has 7, the limit is 100 \(max_queued_tokens"):
        scheduler.submit(inputs(2, length=7), ("out",), Call())
    assert scheduler.retry_after() >= 1
    engine.open.set()
    assert answers(scheduler, waiting) == [1]


def test_a_deadline_drops_what_waits(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    scheduler = make_scheduler(engine)
    held(scheduler, engine, inputs)
    late = scheduler.submit(inputs(1, 2), ("out",), Call(0.02))
    with pytest.raises(DeadlineExceeded):
        scheduler.wait(late)
    assert scheduler.queued_rows == 0
    assert scheduler.queued_tokens == 0
    engine.open.set()
    assert answers(scheduler, scheduler.submit(inputs(3), ("out",), Call())) == [3]
    assert engine.batches == [[0], [3]]


def test_a_deadline_ends_the_wait_for_a_batch_that_runs(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    scheduler = make_scheduler(engine)
    engine.open.clear()
    ticket = scheduler.submit(inputs(1), ("out",), Call(0.02))
    with pytest.raises(DeadlineExceeded):
        scheduler.wait(ticket)


def test_a_cancelled_call_is_dropped_and_its_thread_woken(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    scheduler = make_scheduler(engine)
    held(scheduler, engine, inputs)
    call = Call()
    ticket = scheduler.submit(inputs(1, 2), ("out",), call)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(scheduler.wait, ticket)
        call.cancel()
        with pytest.raises(Cancelled):
            waiting.result(20)
    assert scheduler.queued_rows == 0
    with pytest.raises(Cancelled):
        scheduler.submit(inputs(3), ("out",), call)
    engine.open.set()
    assert answers(scheduler, scheduler.submit(inputs(4), ("out",), Call())) == [4]
    assert engine.batches == [[0], [4]]


def test_close_answers_what_waits_and_takes_nothing_new(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    scheduler = make_scheduler(engine)
    held(scheduler, engine, inputs)
    waiting = scheduler.submit(inputs(1, 2), ("out",), Call())
    with ThreadPoolExecutor(1) as pool:
        closed = pool.submit(scheduler.close)
        assert _eventually(lambda: scheduler._stopping)
        with pytest.raises(Stopping):
            scheduler.submit(inputs(3), ("out",), Call())
        engine.open.set()
        assert closed.result(20) is True
    assert answers(scheduler, waiting) == [1, 2]
    assert not scheduler.is_alive


def test_close_gives_up_on_an_engine_that_is_stuck(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    scheduler = make_scheduler(engine)
    running = held(scheduler, engine, inputs)
    waiting = scheduler.submit(inputs(1), ("out",), Call())
    assert scheduler.close(0.02) is False
    for ticket in (running, waiting):
        with pytest.raises(Stopping, match="send it again"):
            scheduler.wait(ticket)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_told_and_leaves_nobody_waiting(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    scheduler = make_scheduler(engine)
    held(scheduler, engine, inputs)
    waiting = scheduler.submit(inputs(1), ("out",), Call())
    engine.config = None  # the next batch cannot be chosen
    engine.open.set()
    assert _eventually(lambda: not scheduler.is_alive or waiting.answer.done())
    engine.config = type("Config", (), {"max_batch_size": None})()
    with pytest.raises((RuntimeFailure, TypeError)):
        scheduler.submit(inputs(2), ("out",), Call()).answer.result(20)
    with pytest.raises(RuntimeFailure, match="has ended by a fault of its own"):
        scheduler.submit(inputs(2), ("out",), Call())
    assert not scheduler.is_healthy


def test_a_fault_of_the_observer_touches_no_answer(
    engine: Any, make_scheduler: Make, inputs: Inputs, caplog: Any
) -> None:
    def observe(report: BatchReport) -> None:
        raise RuntimeError("the counter is broken")

    scheduler = make_scheduler(engine, None, observe)
    assert answers(scheduler, scheduler.submit(inputs(1), ("out",), Call())) == [1]
    assert engine.batches == [[1]]
    assert "the counter is broken" in caplog.text


def test_a_shared_engine_counts_its_call(engine: Any, make_scheduler: Make, inputs: Inputs) -> None:
    scheduler = make_scheduler(engine)
    call = Call()
    with SharedEngine(scheduler, call) as shared:
        assert scheduler._coming == 1
        assert [float(row["out"][0]) for row in shared.run(inputs(4, 5, length=3), ("out",))] == [4, 5]
        assert shared.run([], ("out",)) == []
        assert scheduler._coming == 0
    assert scheduler._coming == 0
    assert (call.rows, call.prompt_tokens) == (2, 6)


def test_a_caller_that_fails_before_it_submits_is_not_expected_for_ever(engine: Any, make_scheduler: Make) -> None:
    scheduler = make_scheduler(engine)
    with pytest.raises(KeyError), SharedEngine(scheduler, Call()):
        raise KeyError("no such field")
    assert scheduler._coming == 0


def test_the_memory_of_a_long_text_is_given_back_when_nothing_comes(
    engine: Any, make_scheduler: Make, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool_export.runtime.scheduling.scheduler._IDLE", 0.01)
    scheduler = make_scheduler(engine)
    engine.holds_memory = True
    assert answers(scheduler, scheduler.submit(inputs(1), ("out",), Call())) == [1]
    assert engine.gave_back.wait(20)
    assert scheduler.is_alive


Requests = st.lists(
    st.tuples(st.lists(st.integers(1, 60), min_size=1, max_size=7), st.sampled_from(["wait", "cancel", "late"])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(requests=Requests, max_rows=st.integers(1, 4), window=st.sampled_from([0.0, 0.001]), streams=st.integers(1, 3))
def test_every_request_is_answered_once_in_order_or_ended(
    fake: Any, requests: Any, max_rows: int, window: float, streams: int
) -> None:
    class Engine(fake):  # type: ignore[misc,valid-type]
        def forward(self, batch: list[Encoded], outputs: Any, **how: bool) -> list[dict[str, Any]]:
            ran.extend(item.ids[0] for item in batch)
            return [{"out": np.array([item.ids[0]], np.float32)} for item in batch]

    ran: list[int] = []
    engine = Engine(max_rows=max_rows)
    engine.streams = streams
    scheduler = Scheduler(engine, QueueLimits(window=window))

    def ask(number: int, lengths: list[int], how: str) -> str:
        call = Call(1e-4 if how == "late" else 20)
        texts = [Encoded([number * 100 + index] * length, [0] * length) for index, length in enumerate(lengths)]
        try:
            with SharedEngine(scheduler, call) as shared:
                if how == "cancel":
                    threading.Timer(0.0005, call.cancel).start()
                rows = shared.run(texts, ("out",))
        except (Cancelled, DeadlineExceeded):
            return "ended"
        assert [int(row["out"][0]) for row in rows] == [number * 100 + index for index in range(len(lengths))]
        return "answered"

    with ThreadPoolExecutor(len(requests)) as pool:
        found = list(pool.map(lambda item: ask(item[0], *item[1]), enumerate(requests)))
    assert scheduler.queued_rows == scheduler.queued_tokens == 0
    assert scheduler.close(20)
    assert len(set(ran)) == len(ran)
    for (_, how), outcome in zip(requests, found, strict=True):
        assert outcome == "answered" or how != "wait"
