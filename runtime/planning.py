"""Pure batch planning: sort by length, pack by padded tokens. Holds no session and no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .config import RuntimeConfig

# Below so many padded tokens a forward pass does not fill the cores, so padding costs next to nothing there;
# above it, a batch grows only while no more than so much of it is padding.
_FREE_TOKENS = 256
_MAX_PADDING = 0.2


# Padded tokens of a forward pass. On two cores 256 to 2048 are within a few percent of each other, and 8192 takes half
# longer again: its intermediate results no longer fit the cache. A GPU wants more at once.
_CPU_TOKENS, _GPU_TOKENS = 1024, 8192


def batch_tokens(config: RuntimeConfig, device: str) -> int:
    """Padded tokens of a forward pass, where the options leave it open."""
    return config.max_batch_tokens or (_CPU_TOKENS if device == "cpu" else _GPU_TOKENS)


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


def fill_batch(lengths: Sequence[int], first: int, *, max_tokens: int, max_rows: int) -> tuple[int, int]:
    """Choose which waiting texts run together with the one whose turn it is.

    From the first, the batch grows to the neighbour in length that adds the least padding, until it is
    full, or until the padding is no longer worth it.

    Args:
        lengths: token counts of the waiting texts, ascending.
        first: position of the text whose turn it is; it is always in, even if it is longer than a batch.
        max_tokens: largest ``rows * length``.
        max_rows: most texts.

    Returns:
        ``start`` and ``stop`` of the slice to run.
    """
    start, stop = first, first + 1
    used = lengths[first]
    while stop - start < max_rows:
        rows, longest = stop - start + 1, lengths[stop - 1]
        shorter = longest - lengths[start - 1] if start > 0 else None
        longer = (lengths[stop] - longest) * (rows - 1) if stop < len(lengths) else None
        if shorter is None and longer is None:
            break
        grows_up = shorter is None or (longer is not None and longer < shorter)
        added = lengths[stop] if grows_up else lengths[start - 1]
        padded = rows * (added if grows_up else longest)
        is_worth = padded <= _FREE_TOKENS or padded - used - added <= _MAX_PADDING * padded
        if padded > max_tokens or not is_worth:
            break
        used += added
        start, stop = (start, stop + 1) if grows_up else (start - 1, stop)
    return start, stop
