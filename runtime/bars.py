"""How close an answer must come to the reference's, by the precision of the graph (``docs/design.md`` section 7)."""

from __future__ import annotations

from dataclasses import dataclass

from .manifest import Precision


@dataclass(frozen=True)
class Bars:
    """What a precision must reach.

    A cosine alone would forgive a wrong scale (of a logit, say), a distance alone a wrong direction of a small
    vector. One number has no direction: where only cosines are asked for, the scores of all inputs together are
    judged by their correlation, with ``min_cosine`` as its bar.

    Attributes:
        max_abs: largest difference, absolute up to magnitude 1 and relative above; ``None`` for no bar.
        min_cosine: least cosine of any input.
        mean_cosine: least mean over all inputs; ``None`` for no bar.
    """

    max_abs: float | None
    min_cosine: float
    mean_cosine: float | None = None


BARS: dict[Precision, Bars] = {
    "fp32": Bars(max_abs=1e-4, min_cosine=0.99999),
    "fp16": Bars(max_abs=None, min_cosine=0.999),
    "bf16": Bars(max_abs=None, min_cosine=0.999),
    "int8": Bars(max_abs=None, min_cosine=0.98, mean_cosine=0.995),
}
