"""What came of one request on both sides, in one word and one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BAR = 1e-4
SAME, REFUSED = "same", "both refuse"

Rows = Sequence[tuple[list[int], np.ndarray]]


@dataclass(frozen=True)
class Outcome:
    """`kind` is `same`, `both refuse`, or how the two differ; `gap` the largest difference of two numbers."""

    kind: str
    gap: float | None = None
    ours: str = ""
    theirs: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields that say something."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}


def compare(ours: Rows | str, theirs: Rows | str, *, must_refuse: bool) -> Outcome:
    """Judge one request: rows of (token ids, numbers), or the words of a refusal, from either side."""
    if isinstance(ours, str) or isinstance(theirs, str):
        return _refusals(ours, theirs, must_refuse)
    if must_refuse:
        return Outcome("both answer", ours=_shapes(ours), theirs=_shapes(theirs))
    if [ids for ids, _ in ours] != [ids for ids, _ in theirs]:
        pair = next((pair for pair in zip(ours, theirs, strict=False) if pair[0][0] != pair[1][0]), (ours, theirs))
        return Outcome("tokens", ours=str(pair[0][0])[:300], theirs=str(pair[1][0])[:300])
    if _shapes(ours) != _shapes(theirs):
        return Outcome("values", ours=_shapes(ours), theirs=_shapes(theirs))
    gap = max((_gap(left, right) for (_, left), (_, right) in zip(ours, theirs, strict=True)), default=0.0)
    return Outcome(SAME if gap <= BAR else "values", gap)


def _refusals(ours: Rows | str, theirs: Rows | str, must_refuse: bool) -> Outcome:
    words = [side if isinstance(side, str) else "" for side in (ours, theirs)]
    kind = (REFUSED if must_refuse else "neither answers") if all(words) else ""
    kind = kind or ("only vLLM answers" if words[0] else "only ours answers")
    return Outcome(kind, None, *words)


def _shapes(rows: Rows) -> str:
    return " ".join(str(list(values.shape)) for _, values in rows)


def _gap(left: np.ndarray, right: np.ndarray) -> float:
    """Largest difference; anything that is not a number differs infinitely."""
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return float("inf")
    return float(np.abs(left.astype(np.float64) - right.astype(np.float64)).max(initial=0.0))


def answers_of(name: str, answers: Mapping[str, Rows], refused: Mapping[str, str]) -> Rows | str:
    """What one side said to a request: rows, or words."""
    return refused[name] if name in refused else answers[name]
