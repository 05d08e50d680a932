"""Where a call's time is said to go: by a clock that only the test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pool_export.runtime.errors import RuntimeFailure
from pool_export.runtime.scheduling import scheduler as module
from pool_export.runtime.scheduling.call import Call
from pool_export.runtime.scheduling.scheduler import QueueLimits, Scheduler
from pool_export.runtime.scheduling.shared import SharedEngine


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


def shared(clock: Clock, call: Call, forward: Callable[[Any], Any]) -> tuple[Scheduler, SharedEngine]:
    """Return an engine whose forward pass is `forward`; every text is one token."""
    config = SimpleNamespace(max_batch_size=1)
    engine: Any = SimpleNamespace(
        streams=1,
        holds_memory=False,
        fits=lambda rows, length: True,
        check_memory=lambda inputs: None,
        max_tokens=1,
        config=config,
        weight=lambda item: 1,
        forward=lambda batch, outputs, alone: forward(batch),
    )
    scheduler = Scheduler(engine, QueueLimits(window=0))
    return scheduler, SharedEngine(scheduler, call)


def text() -> Any:
    return SimpleNamespace(image=None, truncated=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of calls and of forward passes."""
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def rounded(call: Call) -> dict[str, float]:
    return {name: round(value, 6) for name, value in vars(call.finish()).items()}


def test_every_second_is_in_one_part(clock: Clock) -> None:
    call = Call(clock=clock)

    def forward(batch: Any) -> Any:
        clock.tick(5)
        return [{} for _ in batch]

    scheduler, engine = shared(clock, call, forward)
    clock.tick(1)
    call.note_taken_up()
    clock.tick(0.5)
    call.note_decoded()
    with engine:
        clock.tick(2)
        engine.run([text(), text()], ["embedding"])
        clock.tick(3)
    call.note_encoded()
    scheduler.close()
    assert rounded(call) == {
        "read": 1,
        "decode": 0.5,
        "tokenize": 2,
        "queue": 0,
        "forward": 10,
        "encode": 3,
        "total": 16.5,
    }


def test_waiting_beside_others_batches_is_queue(clock: Clock) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def forward(batch: Any) -> Any:
        entered.set()
        assert go_on.wait(30)
        clock.tick(5)
        return [{} for _ in batch]

    first, second = Call(clock=clock), Call(clock=clock)
    scheduler, engine = shared(clock, first, forward)
    others = [threading.Thread(target=engine.run, args=([text()], ["x"]))]
    others[0].start()
    assert entered.wait(30)
    others.append(threading.Thread(target=SharedEngine(scheduler, second).run, args=([text()], ["x"])))
    others[1].start()
    while not scheduler.queued_rows:
        pass
    go_on.set()
    for thread in others:
        thread.join()
    scheduler.close()
    assert rounded(first)["forward"] == 5
    assert (rounded(second)["queue"], rounded(second)["forward"]) == (5, 5)


def test_a_failed_pass_took_its_time_too(clock: Clock) -> None:
    call = Call(clock=clock)

    def forward(batch: Any) -> Any:
        clock.tick(5)
        raise RuntimeFailure("boom")

    scheduler, engine = shared(clock, call, forward)
    with pytest.raises(RuntimeFailure, match="boom"):
        engine.run([text()], ["embedding"])
    scheduler.close()
    assert (rounded(call)["queue"], rounded(call)["forward"]) == (0, 5)


def test_timings_do_not_change_once_they_are_told(clock: Clock) -> None:
    call = Call(clock=clock)
    told = call.finish()
    call.timings.forward += 7  # a batch that outlives its call
    assert told.forward == 0
