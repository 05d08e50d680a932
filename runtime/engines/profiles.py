"""Optimization profiles: the boxes of (batch, length) that an engine takes, and which of them a batch goes through.

Kernels are chosen for ``opt`` and have to work from ``min`` to ``max``; activation memory is that of ``max``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError

Shape = tuple[int, int]  # rows of the batch, padded length in tokens

_SHAPE = re.compile(r"(\d+)x(\d+)")
# Padded tokens of a throughput batch, as the runtime plans them on a GPU (planning.default_tokens), and its rows.
_TOKENS, _ROWS = 8192, 64
# Where a typical text is, and a typical batch; lengths above the first bucket have profiles of their own, since a box
# of many rows by a great length would reserve memory for batches that are never made.
_TYPICAL_ONE, _TYPICAL_MANY, _FIRST_BUCKET, _WIDER = 64, 128, 512, 4


@dataclass(frozen=True)
class Profile:
    """A box of shapes and the one it is fastest at."""

    min: Shape
    opt: Shape
    max: Shape

    def __str__(self) -> str:
        return ":".join(f"{rows}x{length}" for rows, length in (self.min, self.opt, self.max))

    def takes(self, rows: int, length: int) -> bool:
        """Whether a batch fits."""
        return self.min[0] <= rows <= self.max[0] and self.takes_length(length)

    def takes_length(self, length: int) -> bool:
        """Whether texts of this length fit."""
        return self.min[1] <= length <= self.max[1]


def parse_profiles(text: str) -> tuple[Profile, ...]:
    """Read ``1x1:1x64:8x512,…`` (batch x length; min:opt:max); ``auto`` is none.

    Raises:
        ValueError: not that, or a profile whose min, opt and max are out of order.
    """
    if text.strip() == "auto":
        return ()
    return tuple(_parse_one(part.strip()) for part in text.split(","))


def _parse_one(text: str) -> Profile:
    shapes = [_SHAPE.fullmatch(part) for part in text.split(":")]
    if len(shapes) != 3 or not all(shapes):
        raise ValueError(
            f"expected auto, or profiles such as 1x1:1x64:8x512 (batch x length; min:opt:max), got {text!r}"
        )
    low, best, high = ((int(shape[1]), int(shape[2])) for shape in shapes if shape)
    for axis, name in enumerate(("batch", "length")):
        if not 1 <= low[axis] <= best[axis] <= high[axis]:
            raise ValueError(
                f"expected 1 <= min <= opt <= max, the {name} of {text!r} has {low[axis]}, {best[axis]}, {high[axis]}"
            )
    return Profile(low, best, high)


def auto_profiles(max_length: int) -> tuple[Profile, ...]:
    """One profile for a single text, one for whole batches, and for long texts one a fourfold length.

    Args:
        max_length: the longest text in tokens.
    """
    first = min(max_length, _FIRST_BUCKET)
    typical = min(first, _TYPICAL_MANY)
    found = [
        Profile((1, 1), (1, min(max_length, _TYPICAL_ONE)), (1, max_length)),
        Profile((1, 1), (min(_ROWS, max(1, _TOKENS // typical)), typical), (_ROWS, first)),
    ]
    while first < max_length:
        above, first = first + 1, min(max_length, first * _WIDER)
        rows = max(1, _TOKENS // first)
        found.append(Profile((1, above), (rows, first), (rows, first)))
    return tuple(found)


def check_profiles(profiles: Sequence[Profile], max_length: int) -> None:
    """Require that every text a bundle takes has a profile, alone, and that no profile is longer than any text.

    Raises:
        InputError: the message names the profile or the length.
    """
    for profile in profiles:
        if profile.max[1] > max_length:
            raise InputError(f"profile {profile} goes to length {profile.max[1]}, the model's longest is {max_length}")
    reached = 0
    for low, high in sorted((item.min[1], item.max[1]) for item in profiles if item.min[0] == 1):
        if low > reached + 1:
            break
        reached = max(reached, high)
    if reached < max_length:
        raise InputError(
            f"no profile takes one text of {reached + 1} tokens, and the model takes {max_length}; widen a profile "
            "that begins at batch 1, or export with a lower --max-model-len"
        )


def choose(profiles: Sequence[Profile], rows: int, length: int) -> tuple[int, int]:
    """Find the profile for a batch, and how many of its rows go through it at once.

    Of the profiles that take the whole batch, the one whose best shape is nearest in padded tokens; where none does,
    the one that takes the most rows.

    Args:
        profiles: of the engine, in its order.
        rows: of the batch, 1 or more.
        length: padded tokens a row.

    Raises:
        InputError: no profile takes the length.
    """
    whole = [index for index, item in enumerate(profiles) if item.takes(rows, length)]
    if whole:
        asked = math.log(rows * length)
        return min(whole, key=lambda index: abs(math.log(math.prod(profiles[index].opt)) - asked)), rows
    parts = [index for index, item in enumerate(profiles) if item.takes_length(length) and item.min[0] <= rows]
    if not parts:
        taken = ", ".join(map(str, profiles))
        raise InputError(f"no profile of the engine takes {rows} x {length}; it has {taken}")
    widest = max(parts, key=lambda index: profiles[index].max[0])
    return widest, min(rows, profiles[widest].max[0])
