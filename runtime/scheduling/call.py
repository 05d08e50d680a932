"""One caller's request while it is being answered: its deadline, whether it was given up, where its time went."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...poolers.errors import PoolExportError


class Overloaded(PoolExportError):
    """The queue is full; ``retry_after`` is the number of seconds after which there should be room."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(PoolExportError):
    """The request was not answered in time; what was still queued of it has been dropped."""


class Cancelled(PoolExportError):
    """The caller has gone; what was still queued of the request has been dropped."""


class Stopping(PoolExportError):
    """The server is shutting down and takes nothing new."""


@dataclass
class Timings:
    """Seconds spent on one call. All but ``total`` follow one another and add up to nearly all of it.

    Attributes:
        read: from the arrival of the headers until a worker takes the request up: its body, and the wait for a worker.
        decode: from JSON to a typed body.
        tokenize: from the start of the work to the queue (tokenization and what is checked before it).
        queue: waiting while no text of the call was in a batch (or in one that ended after the call had).
        forward: in batches that held a text of this call, those that failed included.
        encode: after the last batch: what is computed outside the graph, and JSON. The whole of a request that
            needs no batch.
        total: from the arrival of the request's headers until its answer is ready to be sent.
    """

    read: float = 0.0
    decode: float = 0.0
    tokenize: float = 0.0
    queue: float = 0.0
    forward: float = 0.0
    encode: float = 0.0
    total: float = 0.0


class Call:
    """One request's place in the server. Safe to use from several threads.

    Attributes:
        timeout: seconds from arrival in which it must be answered; ``None`` for no bound.
        timings: where its time went, complete once it is answered.
        prompt_tokens: tokens submitted so far.
        truncated: texts that lost tokens.
        rows: texts and images submitted so far.
    """

    def __init__(self, timeout: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock."""
        self.timeout = timeout
        self.timings = Timings()
        self.prompt_tokens = 0
        self.truncated = 0
        self.rows = 0
        self._clock = clock
        self._arrived = clock()
        self._working_since = self._arrived
        self._forward_before = 0.0
        self._lock = threading.Lock()
        self._over: PoolExportError | None = None
        self._on_over: Callable[[PoolExportError], None] | None = None

    def begin_work(self) -> None:
        """Note that a thread begins to prepare texts."""
        self._working_since = self._clock()

    def note_taken_up(self) -> None:
        """Note that a worker begins with the request."""
        self.timings.read = self._lap()

    def note_decoded(self) -> None:
        """Note that the body is read."""
        self.timings.decode = self._lap()

    def note_submitted(self) -> None:
        """Note that its texts are tokenized and about to be queued."""
        self.timings.tokenize += self._lap()
        self._forward_before = self.timings.forward

    def note_answered(self) -> None:
        """Note that the wait for batches is over, however it ended."""
        waited = self._lap()
        # Texts of one call may be in two batches at once; seconds are counted once.
        spent = min(waited, self.timings.forward - self._forward_before)
        self.timings.forward = self._forward_before + spent
        self.timings.queue += waited - spent

    def note_encoded(self) -> None:
        """Note that the answer is bytes."""
        self.timings.encode = self._lap()

    def finish(self) -> Timings:
        """Note that the answer is ready; return the timings (a batch that outlives the call changes them no more)."""
        self.timings.total = self._clock() - self._arrived
        return replace(self.timings)

    def _lap(self) -> float:
        """Seconds since the last note."""
        since, self._working_since = self._working_since, self._clock()
        return self._working_since - since

    def remaining(self) -> float | None:
        """Seconds until the deadline, never negative; ``None`` where there is none."""
        return None if self.timeout is None else max(0.0, self._arrived + self.timeout - self._clock())

    def cancel(self, why: PoolExportError | None = None) -> None:
        """Give the call up, because its caller has gone (or for ``why``); drop its texts, wake its thread."""
        self._end(why or Cancelled("the client closed the connection before the answer was ready"))

    def check(self) -> None:
        """Stop here where nobody waits any more.

        Raises:
            DeadlineExceeded, Cancelled: it is over.
        """
        if self._over is None and self.remaining() == 0:
            self._end(self._too_late())
        if self._over is not None:
            raise self._over

    def on_over(self, act: Callable[[PoolExportError], None] | None) -> None:
        """Say what to do when the call ends early (once, at once if it is over already); ``None`` takes it back."""
        with self._lock:
            self._on_over = act
            over = self._over
        if over is not None and act is not None:
            act(over)

    def expire(self) -> None:
        """End the call because its time is up."""
        self._end(self._too_late())

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"the request was not answered within {self.timeout:g} s (request_timeout); send fewer or shorter texts "
            "a request, or raise the limit"
        )

    def _end(self, why: PoolExportError) -> None:
        with self._lock:
            if self._over is not None:
                return
            self._over = why
            act = self._on_over
        if act is not None:
            act(why)
