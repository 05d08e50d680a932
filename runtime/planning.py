"""Pure batch planning: sort by length, pack by padded tokens. Holds no session and no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """Rows (indices into the request) that run together, padded to ``length``."""

    rows: tuple[int, ...]
    length: int

    @property
    def tokens(self) -> int:
        """Padded tokens of the batch."""
        return len(self.rows) * self.length


def plan_batches(lengths: Sequence[int], *, max_tokens: int, max_rows: int) -> list[Batch]:
    """Group texts of similar length so that little padding is computed.

    The longest come first: the allocator sees its largest request at once and a progress bar
    speeds up instead of stalling. A text longer than ``max_tokens`` runs alone.

    Args:
        lengths: token count of every text.
        max_tokens: largest ``rows * length`` of a batch.
        max_rows: most texts in a batch.

    Returns:
        Batches that cover every index exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[Batch] = []
    start = 0
    while start < len(order):
        length = lengths[order[start]]
        rows = max(1, min(max_rows, max_tokens // max(1, length)))
        batches.append(Batch(tuple(order[start : start + rows]), length))
        start += rows
    return batches
