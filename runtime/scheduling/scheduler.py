"""The threads that run an engine for many callers, one a stream: take batches from the queue, hand rows back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from ...poolers.errors import PoolExportError
from ..engine import Engine, Rows, checked
from ..errors import RuntimeFailure
from ..tokens import Encoded
from .call import Call, Overloaded, Stopping
from .health import Health
from .queue import FairQueue, Item, Ticket

_log = logging.getLogger(__name__)

# Seconds without a text after which the memory of a long one is given back.
_IDLE = 0.5
# A guess of tokens a second, until the first batches tell.
_FIRST_RATE = 2000.0
_ENDED = "the thread that runs the model has ended by a fault of its own; restart the server and report its log"


@dataclass(frozen=True, kw_only=True)
class QueueLimits:
    """How much may wait.

    Attributes:
        max_tokens: tokens in the queue; more is refused, unless the queue is empty.
        window: seconds that a batch waits for callers that are still tokenizing. Nobody else is waited for.
    """

    max_tokens: int = 500_000
    window: float = 0.002


@dataclass(frozen=True)
class BatchReport:
    """One forward pass: texts, their tokens, tokens with padding, seconds, and the callers that shared it."""

    rows: int
    tokens: int
    padded: int
    seconds: float
    calls: int
    failed: bool = False


# Is told of every forward pass, in the scheduler's thread.
Observer = Callable[[BatchReport], object]


class Scheduler:
    """Batches the texts of many callers for one engine. ``submit`` is safe from any thread.

    Attributes:
        engine: what it runs.
        limits: how much may wait.
    """

    def __init__(self, engine: Engine, limits: QueueLimits | None = None, observer: Observer | None = None) -> None:
        """Start the threads."""
        self.engine = engine
        self.limits = limits or QueueLimits()
        self._observer: Observer = observer or (lambda report: None)
        self._queue = FairQueue()
        self._changed = threading.Condition()
        self._coming = 0
        self._running: dict[int, list[Item]] = {}  # by thread
        self._stopping = False
        self._has_died = False
        self._health = Health()
        self._rate = _FIRST_RATE
        self._threads = [
            threading.Thread(target=self._work, name=f"pool-export-scheduler-{number}", daemon=True)
            for number in range(engine.streams)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the threads run. They end when the scheduler is closed, and by a fault of its own."""
        return not self._has_died and all(thread.is_alive() for thread in self._threads)

    @property
    def is_healthy(self) -> bool:
        """Whether the threads live and the last forward passes were not all failures."""
        return self.is_alive and self._health.is_good

    @property
    def queued_tokens(self) -> int:
        """Tokens waiting now."""
        return self._queue.tokens

    @property
    def queued_rows(self) -> int:
        """Texts waiting now."""
        with self._changed:
            return len(self._queue)

    def expect(self, count: int) -> None:
        """Say that so many callers more (or fewer) are tokenizing; a batch waits for them, briefly."""
        with self._changed:
            self._coming += count
            self._changed.notify_all()

    def retry_after(self) -> float:
        """Seconds in which half of what waits should be done, from the rate of the last batches; at least 1."""
        return max(1.0, self._queue.tokens / 2 / (self._rate * self.engine.streams))

    def submit(self, inputs: Sequence[Encoded], outputs: Sequence[str], call: Call) -> Ticket:
        """Queue inputs.

        Raises:
            InputError: a text that does not fit the memory limit.
            Overloaded: the queue is full.
            Stopping: the scheduler takes nothing new.
            RuntimeFailure: its threads have ended.
            DeadlineExceeded, Cancelled: the call is over already.
        """
        call.check()
        self.engine.check_memory(inputs)
        ticket = Ticket(inputs, tuple(outputs), [self.engine.weight(item) for item in inputs], call)
        tokens = sum(ticket.weights)
        with self._changed:
            if self._stopping:
                raise Stopping("the server is shutting down")
            if not self.is_alive:
                raise RuntimeFailure(_ENDED)
            # Into an empty queue anything goes, or a request above the limit could never be served.
            if self._queue.tokens and self._queue.tokens + tokens > self.limits.max_tokens:
                raise Overloaded(
                    f"the queue is full: {self._queue.tokens} tokens wait, this request has {tokens}, the limit is "
                    f"{self.limits.max_tokens} (max_queued_tokens); try again later",
                    self.retry_after(),
                )
            self._queue.put(ticket)
            self._changed.notify_all()
        call.prompt_tokens += tokens
        call.rows += len(inputs)
        call.truncated += sum(item.truncated for item in inputs)
        call.on_over(lambda why: self._give_up(ticket, why))
        return ticket

    def wait(self, ticket: Ticket) -> list[Rows]:
        """Block until a ticket is answered.

        Raises:
            DeadlineExceeded, Cancelled: the call ended first.
            PoolExportError: what the forward pass raised.
        """
        try:
            return ticket.answer.result(ticket.call.remaining())
        except FutureTimeout:
            ticket.call.expire()
            return ticket.answer.result()
        finally:
            ticket.call.on_over(None)

    def close(self, timeout: float | None = None) -> bool:
        """Take nothing new, run what waits, and end the threads.

        Args:
            timeout: seconds to wait for that; what waits after it is ended with ``Stopping``.

        Returns:
            Whether they have ended.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        until = None if timeout is None else monotonic() + timeout
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - monotonic()))
        self._abandon(Stopping("the server stopped before this request was answered; send it again"))
        return not any(thread.is_alive() for thread in self._threads)

    def _abandon(self, why: PoolExportError) -> None:
        """End everything that has no answer yet."""
        with self._changed:
            left, self._queue = self._queue.tickets(), FairQueue()
            left += [item.ticket for batch in self._running.values() for item in batch]
        for ticket in left:
            ticket.fail(why)

    def _give_up(self, ticket: Ticket, why: PoolExportError) -> None:
        with self._changed:
            self._queue.drop(ticket)
        ticket.fail(why)

    # ------------------------------------------------------------------------------- in the threads

    def _work(self) -> None:
        me = threading.get_ident()
        try:
            while (batch := self._next(me)) is not None:
                if batch:
                    self._run(batch)
                else:
                    with suppress(RuntimeFailure):  # the next batch will say so to somebody who asked
                        self.engine.give_back()
        except BaseException:
            # A fault of the scheduler's own: nobody may wait for an answer that cannot come (`/health` tells).
            with self._changed:
                self._has_died = True
            self._abandon(RuntimeFailure(_ENDED))
            raise

    def _next(self, me: int) -> list[Item] | None:
        """Wait for a batch: ``None`` when closed and nothing waits, empty when a long text left its memory behind."""
        budget, rows = self.engine.max_tokens, self.engine.config.max_batch_size
        with self._changed:
            self._running[me] = []
            while True:
                patience = _IDLE if self.engine.holds_memory else None
                if not self._changed.wait_for(lambda: len(self._queue) or self._stopping, patience):
                    return []
                until = monotonic() + self.limits.window
                self._changed.wait_for(
                    lambda: self._coming <= 0 or self._queue.tokens >= budget or self._stopping,
                    max(0.0, until - monotonic()),
                )
                for ticket in self._queue.tickets():
                    if ticket.call.remaining() == 0:
                        ticket.call.expire()  # drops it and wakes its thread, by way of `_give_up`
                if batch := self._queue.pick(budget, rows, self.engine.fits):
                    self._running[me] = batch
                    return batch
                if self._stopping:
                    return None

    def _run(self, batch: list[Item]) -> None:
        """Run a batch; where it fails, every ticket alone, so that one cannot fail another."""
        try:
            self._forward(batch)
        except Exception as error:  # noqa: BLE001  (whatever it was, the thread lives on and the callers hear of it)
            tickets = list(dict.fromkeys(item.ticket for item in batch))
            if len(tickets) == 1:
                self._health.count(is_good=False)
                self._fail(tickets[0], error)
                return
            for ticket in tickets:
                if not ticket.answer.done():
                    self._run([item for item in batch if item.ticket is ticket])

    def _forward(self, batch: list[Item]) -> None:
        started = monotonic()
        tickets = list(dict.fromkeys(item.ticket for item in batch))
        tokens = sum(item.weight for item in batch)
        padded = len(batch) * max(item.weight for item in batch)
        failed = True
        try:
            with self._changed:
                alone = not len(self._queue) and sum(map(bool, self._running.values())) == 1
            rows = self.engine.forward([item.encoded for item in batch], batch[0].ticket.outputs, alone=alone)
            failed = False
        finally:
            seconds = monotonic() - started
            for ticket in tickets:
                ticket.call.timings.forward += seconds
            self._report(BatchReport(len(batch), tokens, padded, seconds, len(tickets), failed))
        self._rate += 0.1 * (tokens / max(seconds, 1e-6) - self._rate)
        self._hand_out(batch, rows)

    def _report(self, report: BatchReport) -> None:
        try:
            self._observer(report)
        except Exception:  # noqa: BLE001  (a counter that fails must not fail the requests it counts)
            _log.exception("counting a batch failed; its answers are not touched by that")

    def _hand_out(self, batch: list[Item], rows: list[Rows]) -> None:
        good: list[tuple[Item, Rows]] = []
        bad: list[tuple[Item, RuntimeFailure]] = []
        for item, row in zip(batch, rows, strict=True):
            try:
                good.append((item, checked(row)))
            except RuntimeFailure as error:
                bad.append((item, error))
        self._health.count(is_good=bool(good))  # before anybody is answered, who may ask for it
        for item, row in good:
            if item.ticket.put(item.index, row):
                item.ticket.complete()
        for item, why in bad:
            self._fail(item.ticket, why)

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        with self._changed:
            self._queue.drop(ticket)
        ticket.fail(error)
