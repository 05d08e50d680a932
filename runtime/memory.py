"""How much memory batches may take: what a forward pass needs, and room for those that run at once.

The intermediate results of a batch are most of what a process holds beside its weights. They grow with the tokens,
and attention with the square of a text's length. Both factors are measured, once, by two small passes at load.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .system import memory_limit

_STATM = Path("/proc/self/statm")
_MIB = 2**20

# Tokens a text of the two passes that measure, and of all their texts at most. Longer ones are extrapolated.
_SHORT, _LONG = 64, 512
_PROBED = 1024
# onnxruntime's arena holds free pieces between the ones in use, and no two batches leave the same.
_MARGIN = 1.5
# What comes beside batches once there is work: requests, threads, the heap.
_RESERVE = 48 * _MIB


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class BatchCost:
    """Bytes that a forward pass of ``rows`` texts padded to ``length`` takes beside the weights."""

    per_token: float
    per_square: float

    def __call__(self, rows: int, length: int) -> int:
        """The estimate."""
        return int(_MARGIN * rows * length * (self.per_token + self.per_square * length))


def measure_cost(grow: Callable[[int, int], int], tokens: int, longest: int) -> BatchCost:
    """Measure what batches cost, by one of many short texts and one of few long ones.

    Args:
        grow: runs a batch of so many rows and tokens a row; returns by how many bytes the process grew.
        tokens: padded tokens of a usual batch.
        longest: tokens of the longest text.
    """
    short, long = min(_SHORT, longest), min(_LONG, longest)
    tokens = min(tokens, _PROBED)
    many, few = max(1, tokens // short), max(1, tokens // long)
    grow(1, short)  # what is allocated once, whatever comes
    at_short, at_long = grow(many, short) / (many * short), grow(few, long) / (few * long)
    per_square = max(0.0, (at_long - at_short) / (long - short)) if long > short else 0.0
    return BatchCost(max(0.0, at_short - per_square * short, at_long - per_square * long), per_square)


class MemoryBudget:
    """The process's memory limit, shared by every engine in it. Safe to use from several threads.

    Attributes:
        limit: resident bytes to stay below; ``None`` for no limit.
        room: bytes that batches may take together.
    """

    def __init__(self, limit: int | None) -> None:
        """Start with nothing loaded."""
        self.limit = limit
        self.room = limit or 0
        self._used = 0
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @classmethod
    def of(cls, limit: int) -> MemoryBudget:
        """A limit in bytes; 0 takes the container's, where it has one.

        Raises:
            InputError: a limit on a system that does not tell how much memory is in use.
        """
        if limit and not _STATM.exists():
            raise InputError(f"memory_limit needs {_STATM} to see how much memory is in use; leave it out here")
        return cls((limit or memory_limit()) if _STATM.exists() else None)

    def settle(self) -> None:
        """Count everything in memory now as what stays.

        Raises:
            InputError: that is more than the limit.
        """
        if self.limit is None:
            return
        rest = resident()
        self.room = self.limit - rest - _RESERVE
        if self.room <= 0:
            raise InputError(
                f"the process takes {rest // _MIB} MiB before the first text and {_RESERVE // _MIB} MiB are kept for "
                f"requests, the limit is {self.limit // _MIB} MiB (memory_limit, or the container's); raise it"
            )

    def check(self, cost: int, length: int) -> None:
        """Refuse a text that cannot be run at all.

        Raises:
            InputError: names its length, what it needs, and the limit.
        """
        if self.limit is not None and cost > self.room:
            raise InputError(
                f"a text of {length} tokens needs about {-(-cost // _MIB)} MiB for its forward pass, and "
                f"{self.room // _MIB} MiB are left of the limit of {self.limit // _MIB} MiB (memory_limit, or the "
                "container's); shorten it or set truncate_prompt_tokens"
            )

    @contextmanager
    def reserve(self, cost: int) -> Iterator[None]:
        """Hold room for a batch, and wait for it first; whoever comes later waits behind."""
        if self.limit is None:
            yield
            return
        with self._turn, self._freed:
            # A batch that is too large by itself was refused, or cannot be made smaller: it runs alone.
            self._freed.wait_for(lambda: not self._used or self._used + cost <= self.room)
            self._used += cost
        try:
            yield
        finally:
            with self._freed:
                self._used -= cost
                self._freed.notify_all()
