"""The waiting texts of many callers, in the order in which it is fair and cheap to run them.

Fair: start-time fair queueing (Goyal, Vin and Cheng 1996). A text's tag is the virtual time at which its
caller's earlier turns would be done, so that one text of a new caller is not behind the thousand of another.
Every request is a new caller, so virtual time also moves with the work that was due, as if those who wait, and
one who may come, had had equal shares of it: else a stream of newcomers, all tagged "now", would keep
everybody's second turn waiting for ever. A turn is about a batch, because to go text by text would make a caller of
sixteen wait sixteen times. Cheap: the text whose turn it is takes along those whose length is nearest.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from ..engine import Rows
from ..planning import Fits, always_fits, fill_batch
from ..tokens import Encoded
from .call import Call

Kind = tuple[str, ...]

# Tokens that a caller may run before it is somebody else's turn.
_TURN = 1024


@dataclass(eq=False)
class Ticket:
    """Inputs that one call waits for together.

    Attributes:
        inputs: what to run.
        outputs: graph outputs asked for.
        weights: tokens of each input.
        call: whose they are.
        answer: the rows, in the order of ``inputs``; or the error that ended it.
    """

    inputs: Sequence[Encoded]
    outputs: tuple[str, ...]
    weights: Sequence[int]
    call: Call
    answer: Future[list[Rows]] = field(default_factory=Future)
    rows: dict[int, Rows] = field(default_factory=dict)

    def put(self, index: int, row: Rows) -> bool:
        """Store one answer; true when it was the last."""
        self.rows[index] = row
        return len(self.rows) == len(self.inputs)

    def complete(self) -> None:
        """Hand over the rows."""
        with suppress(InvalidStateError):
            self.answer.set_result([self.rows[index] for index in range(len(self.inputs))])

    def fail(self, error: BaseException) -> None:
        """End the ticket with an error, unless it has ended (another thread may be ending it right now)."""
        with suppress(InvalidStateError):
            self.answer.set_exception(error)


@dataclass(slots=True, eq=False)
class Item:
    """One waiting input, due at the virtual time ``tag``; ``waits`` until it is taken out."""

    ticket: Ticket
    index: int
    weight: int
    kind: Kind
    tag: float
    waits: bool = True

    @property
    def encoded(self) -> Encoded:
        """The tokens."""
        return self.ticket.inputs[self.index]


@dataclass
class _Lane:
    """Inputs that may run together, by ascending weight; two lists, because bisect is fastest on plain numbers."""

    weights: list[int] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    def add(self, item: Item) -> None:
        at = bisect_right(self.weights, item.weight)
        self.weights.insert(at, item.weight)
        self.items.insert(at, item)

    def find(self, item: Item) -> int:
        return self.items.index(item, bisect_left(self.weights, item.weight))

    def take(self, start: int, stop: int) -> list[Item]:
        taken = self.items[start:stop]
        del self.items[start:stop], self.weights[start:stop]
        return taken


class FairQueue:
    """Waiting inputs. Not thread-safe: its owner holds a lock.

    Attributes:
        tokens: tokens waiting.
    """

    def __init__(self) -> None:
        """Start empty, at virtual time zero."""
        self.tokens = 0
        self._lanes: dict[Kind, _Lane] = {}
        self._waiting: Counter[Ticket] = Counter()
        self._turns: list[tuple[float, int, Item]] = []  # a heap by tag, then arrival; holds taken items too
        self._arrivals = itertools.count()
        self._now = 0.0

    def __len__(self) -> int:
        """Number of waiting inputs."""
        return self._waiting.total()

    def put(self, ticket: Ticket) -> None:
        """Queue the inputs of a ticket behind one another, beside those of the other callers."""
        ahead = 0
        for index, (encoded, weight) in enumerate(zip(ticket.inputs, ticket.weights, strict=True)):
            # Images and texts go through different graphs, and other outputs may be much larger to copy.
            kind = ("image" if encoded.image is not None else "text", *ticket.outputs)
            tag = self._now + ahead // _TURN * _TURN
            item = Item(ticket, index, weight, kind, tag)
            self._lanes.setdefault(kind, _Lane()).add(item)
            heapq.heappush(self._turns, (tag, next(self._arrivals), item))
            ahead += weight
        self.tokens += sum(ticket.weights)
        self._waiting[ticket] += len(ticket.inputs)

    def pick(self, max_tokens: int, max_rows: int, fits: Fits = always_fits) -> list[Item]:
        """Take the next batch out: the input whose turn it is, and those that pad least beside it.

        Returns:
            The batch; empty where nothing waits.
        """
        while self._turns:
            _, _, first = heapq.heappop(self._turns)
            if first.waits:
                lane = self._lanes[first.kind]
                at = lane.find(first)
                span = fill_batch(lane.weights, at, max_tokens=max_tokens, max_rows=max_rows, fits=fits)
                batch = self._taken(first.kind, lane.take(*span))
                self._now = max(self._now, first.tag)
                due = sum(item.weight for item in batch if item.tag <= self._now)
                self._now += due / (len(self._waiting) + 1)
                return batch
        return []

    def drop(self, ticket: Ticket) -> int:
        """Take out what still waits of a ticket; return how many inputs that were."""
        if ticket not in self._waiting:
            return 0
        dropped = 0
        for kind, lane in list(self._lanes.items()):
            mine = [item for item in lane.items if item.ticket is ticket]
            if mine:
                kept = [item for item in lane.items if item.ticket is not ticket]
                self._lanes[kind] = _Lane([item.weight for item in kept], kept)
                dropped += len(self._taken(kind, mine))
        # Their turns are passed over when they come; only many are worth the work of leaving them out.
        if len(self._turns) > 2 * len(self):
            self._turns = [turn for turn in self._turns if turn[2].waits]
            heapq.heapify(self._turns)
        return dropped

    def tickets(self) -> list[Ticket]:
        """The tickets of which something waits."""
        return list(self._waiting)

    def _taken(self, kind: Kind, items: list[Item]) -> list[Item]:
        for item in items:
            item.waits = False
            self.tokens -= item.weight
            self._waiting[item.ticket] -= 1
            if not self._waiting[item.ticket]:
                del self._waiting[item.ticket]
        if not self._lanes[kind].items:
            del self._lanes[kind]
        return items
