"""An engine as one of its many callers sees it: what it runs goes through the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from ..bundle import Bundle
from ..engine import Progress, Rows
from ..tokens import Encoded, TextTokenizer
from .call import Call
from .scheduler import Scheduler


class SharedEngine:
    """A ``PoolingEngine`` for one call. A context manager: inside, the scheduler knows that texts are coming."""

    def __init__(self, scheduler: Scheduler, call: Call) -> None:
        """Remember both; nothing is queued yet."""
        self._scheduler = scheduler
        self._call = call
        self._is_expected = False

    @property
    def bundle(self) -> Bundle:
        """The opened bundle."""
        return self._scheduler.engine.bundle

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer."""
        return self._scheduler.engine.tokenizer

    @property
    def output_names(self) -> tuple[str, ...]:
        """Graph outputs that may be asked for."""
        return self._scheduler.engine.output_names

    def run(self, inputs: Sequence[Encoded], outputs: Sequence[str], progress: Progress | None = None) -> list[Rows]:
        """Queue inputs and wait for their rows, in order.

        Raises:
            Overloaded, Stopping: they were not taken.
            DeadlineExceeded, Cancelled: the call ended before they were answered.
            RuntimeFailure: the graph failed on them.
        """
        if not inputs:
            return []
        self._call.note_submitted()  # before they are: the batch may have run when `submit` returns
        ticket = self._scheduler.submit(inputs, outputs, self._call)
        self._arrived()
        try:
            rows = self._scheduler.wait(ticket)
        finally:
            self._call.note_answered()
        if progress is not None:
            progress(len(rows))
        return rows

    def __enter__(self) -> SharedEngine:
        """Tell the scheduler that texts are coming."""
        self._call.begin_work()
        self._is_expected = True
        self._scheduler.expect(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell it that no more are."""
        self._arrived()

    def _arrived(self) -> None:
        if self._is_expected:
            self._is_expected = False
            self._scheduler.expect(-1)
