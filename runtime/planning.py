"""Pure batch planning: sort by length, pack by padded tokens. Holds no session and no text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# A batch grows only while no more than so much of it is padding. A core is nearly busy with one text (MiniLM: 12 ms for
# 46 tokens alone, 11 in a batch of eight), so padding that is more than that costs more than the company saves.
_MAX_PADDING = 0.1
# Below this share of a full batch there is room for any padding.
_FREE_SHARE = 1 / 16

# Tokens that are not worth a stream of their own: starting its thread takes a tenth of a millisecond.
_LEAST_SHARE = 32

Fits = Callable[[int, int], bool]  # whether so many rows of such a length may run together

# Padded tokens of a forward pass, on a CPU for each thread that works on it. 256 to 1024 are within a few percent of
# each other, and 8192 takes half longer again: its intermediate results no longer fit the cache. In bfloat16 those are
# half as large, and AMX multiplies so fast that reading the weights for fewer tokens shows. A GPU wants more.
_CPU_TOKENS, _BF16_TOKENS, _GPU_TOKENS = 512, 1024, 8192


def default_tokens(*, on_cpu: bool, threads: int, precision: str = "fp32") -> int:
    """Padded tokens of a forward pass on so many threads."""
    if not on_cpu:
        return _GPU_TOKENS
    return (_BF16_TOKENS if precision == "bf16" else _CPU_TOKENS) * threads


@dataclass(frozen=True)
class Batch:
    """Rows (indices into the request) that run together, padded to ``length``."""

    rows: tuple[int, ...]
    length: int

    @property
    def tokens(self) -> int:
        """Padded tokens of the batch."""
        return len(self.rows) * self.length


def always_fits(rows: int, length: int) -> bool:
    """No limit."""
    return True


def plan_batches(
    lengths: Sequence[int], *, max_tokens: int, max_rows: int, fits: Fits = always_fits, streams: int = 1
) -> list[Batch]:
    """Group texts of similar length so that little padding is computed.

    The longest come first: the allocator sees its largest request at once and a progress bar
    speeds up instead of stalling. A text longer than ``max_tokens`` runs alone. With several streams, what is less
    than a few rounds of full batches is cut so that all have as much to do, and texts of different lengths stay apart.

    Args:
        lengths: token count of every text.
        max_tokens: largest ``rows * length`` of a batch.
        max_rows: most texts in a batch.
        fits: what else limits a batch, memory; the more rows the less it fits.
        streams: batches that run at once.

    Returns:
        Batches that cover every index exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    share = _even_share(sum(lengths), max_tokens, streams)
    batches: list[Batch] = []
    start = 0

    def is_worth(rows: int) -> bool:
        real = sum(lengths[index] for index in order[start : start + rows])
        return _is_worth(rows * lengths[order[start]], real, max_tokens)

    while start < len(order):
        length = lengths[order[start]]
        rows = max(1, min(max_rows, max_tokens // max(1, length), -(-share // max(1, length)), len(order) - start))
        while rows > 1 and not (fits(rows, length) and (streams == 1 or is_worth(rows))):
            rows -= 1
        batches.append(Batch(tuple(order[start : start + rows]), length))
        start += rows
    return batches


def _even_share(total: int, max_tokens: int, streams: int) -> int:
    """Tokens of a batch, at most ``max_tokens``, such that rounds of ``streams`` batches share the work evenly."""
    if streams == 1 or not total:
        return max_tokens
    rounds = -(-total // (streams * max_tokens))
    return min(max_tokens, max(_LEAST_SHARE, -(-total // (streams * rounds))))


def _is_worth(padded: int, real: int, max_tokens: int) -> bool:
    """Whether a batch of so many tokens with padding, and without, is worth its padding."""
    return padded <= _FREE_SHARE * max_tokens or padded - real <= _MAX_PADDING * padded


def fill_batch(
    lengths: Sequence[int], first: int, *, max_tokens: int, max_rows: int, fits: Fits = always_fits
) -> tuple[int, int]:
    """Choose which waiting texts run together with the one whose turn it is.

    From the first, the batch grows to the neighbour in length that adds the least padding, until it is
    full, or until the padding is no longer worth it.

    Args:
        lengths: token counts of the waiting texts, ascending.
        first: position of the text whose turn it is; it is always in, even if it is longer than a batch.
        max_tokens: largest ``rows * length``.
        max_rows: most texts.
        fits: what else limits a batch, memory.

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
        is_worth = _is_worth(padded, used + added, max_tokens)
        if padded > max_tokens or not is_worth or not fits(rows, padded // rows):
            break
        used += added
        start, stop = (start, stop + 1) if grows_up else (start - 1, stop)
    return start, stop
