"""An engine without a model: it answers every input's first token, and can be told to fail, lie or wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.scheduling.call import Call
from pool_export.runtime.scheduling.queue import Ticket
from pool_export.runtime.scheduling.scheduler import Scheduler
from pool_export.runtime.tokens import Encoded

POISON, NOT_A_NUMBER = 666, 777


def encoded(first: int = 1, length: int = 1) -> Encoded:
    return Encoded([first] * length, [0] * length)


class FakeEngine:
    """What a scheduler needs of an engine. `open` lets batches through; `batches` are those that ran."""

    def __init__(self, max_tokens: int = 64, max_rows: int = 8) -> None:
        self.max_tokens = max_tokens
        self.streams = 1
        self.holds_memory = False
        self.config = RuntimeConfig(max_batch_size=max_rows)
        self.batches: list[list[int]] = []
        self.alone: list[bool] = []
        self.is_broken = False
        self.open = threading.Event()
        self.open.set()
        self.entered, self.gave_back = threading.Event(), threading.Event()

    def weight(self, item: Encoded) -> int:
        return len(item)

    def fits(self, rows: int, length: int) -> bool:
        return True

    def check_memory(self, inputs: Sequence[Encoded]) -> None:
        pass

    def give_back(self) -> None:
        self.holds_memory = False
        self.gave_back.set()

    def forward(self, batch: Sequence[Encoded], outputs: Sequence[str], *, alone: bool) -> list[dict[str, np.ndarray]]:
        self.alone.append(alone)
        self.batches.append([item.ids[0] for item in batch])
        self.entered.set()
        assert self.open.wait(20)
        if self.is_broken or any(item.ids[0] == POISON for item in batch):
            raise ValueError("the graph failed")
        return [{name: self._answer(item) for name in outputs} for item in batch]

    def _answer(self, item: Encoded) -> np.ndarray:
        return np.array([np.nan if item.ids[0] == NOT_A_NUMBER else item.ids[0]], np.float32)


@pytest.fixture(scope="session")
def fake() -> type[FakeEngine]:
    """Return the engine's class."""
    return FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def make_scheduler() -> Iterator[Callable[..., Scheduler]]:
    """Return `make(engine, limits, observer)`: schedulers that are closed at the end."""
    made: list[tuple[Any, Scheduler]] = []

    def make(engine: Any, *arguments: Any) -> Scheduler:
        made.append((engine, Scheduler(engine, *arguments)))
        return made[-1][1]

    yield make
    for engine, scheduler in made:
        engine.open.set()
        assert scheduler.close(20)


@pytest.fixture
def ticket() -> Callable[..., Ticket]:
    """Return `ticket(weights, first=0, call=None)`: inputs of those lengths that answer first and up."""

    def make(weights: Sequence[int], first: int = 0, call: Call | None = None, outputs: Any = ("out",)) -> Ticket:
        inputs = [encoded(first + index, weight) for index, weight in enumerate(weights)]
        return Ticket(inputs, outputs, weights, call or Call())

    return make


@pytest.fixture
def inputs() -> Callable[..., list[Encoded]]:
    """Return `inputs(1, 2, 3, length=1)`: inputs that answer these numbers."""
    return lambda *firsts, length=1: [encoded(first, length) for first in firsts]
