"""Hold a consumer's answers to the golden file of the bundle it opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pool_export.runtime.replay import Figures, compare

from .consumers import MAX_LOGIT_GAP, MIN_COSINE

_SHOWN = 3
_LEAST_CASES = 6
_VECTOR_GAP = 1e-2


@dataclass
class Verdict:
    """What came of one consumer and one bundle."""

    version: str
    cases: int = 0
    max_abs: float = 0.0
    min_cosine: float = 1.0
    failures: list[str] = field(default_factory=list)

    def add(self, name: str, shown: str, figures: Figures) -> None:
        """Take one answer into the figures."""
        self.max_abs, self.min_cosine = max(self.max_abs, figures.max_abs), min(self.min_cosine, figures.cosine)
        if is_far(name, figures):
            self.failures.append(f"{shown} differs by {figures.max_abs:.1e} (cosine {figures.cosine:.6f})")

    def document(self) -> dict[str, Any]:
        return asdict(self)


def judge(answered: Mapping[str, Any], golden: Mapping[str, Any], *, cuts_otherwise: bool = False) -> Verdict:
    """Compare every stated output that was answered, by every way it was asked for.

    Vectors are judged by their cosine, logits by their distance. A way that answered less than a handful of cases
    fails: it would prove nothing. A consumer that is said to cut texts otherwise must still do so.
    """
    verdict = Verdict(answered["version"])
    if not answered["ways"]:
        verdict.failures.append("it answered nothing")
    for way, outputs in answered["ways"].items():
        compared = 0
        for name, rows in outputs.items():
            for index, values in rows.items():
                case = golden["cases"][int(index)]
                if name not in case["outputs"]:
                    continue
                shown, figures = f"{way}, {name} of case {index}", measure(case["outputs"][name], values)
                if cuts_otherwise and case.get("truncated"):
                    if not is_far(name, figures):
                        verdict.failures.append(f"{shown} agrees: it no longer cuts texts otherwise, say so")
                    continue
                compared += 1
                verdict.add(name, shown, figures)
        verdict.cases += compared
        if compared < _LEAST_CASES:
            verdict.failures.append(f"{way}: only {compared} cases were answered")
    del verdict.failures[_SHOWN:]
    return verdict


def measure(stated: Any, values: Any) -> Figures:
    """Figures of one answer."""
    return compare(stated, np.asarray(values, np.float64))


def is_far(name: str, figures: Figures) -> bool:
    """Whether an answer misses its bars.

    Vectors too are held to a distance, loosely: a cosine alone would forgive one that is not normalised.
    """
    gap = MAX_LOGIT_GAP if name in ("logits", "probs") else _VECTOR_GAP
    return figures.cosine < MIN_COSINE or figures.max_abs > gap
