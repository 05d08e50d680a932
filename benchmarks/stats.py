"""Arithmetic of the benchmarks: spread, ratios of runs in turn, fidelity."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

NEIGHBOURS = 10


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes of what was measured."""
    q1, median, q3 = np.percentile(values, [25, 50, 75])
    extremes = {"min": min(values), "max": max(values)}
    return {"median": float(median), "q1": float(q1), "q3": float(q3), **extremes, "n": len(values)}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds of one over the other: what slows a round slows both.

    Raises:
        ValueError: not as many rounds of each.
    """
    return statistics.median(own / other for own, other in zip(ours, theirs, strict=True))


def cosines(found: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Cosine of every row with the reference's, ``[rows]`` float64; a row of zeros gives 0."""
    first, second = np.float64(found), np.float64(reference)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.divide((first * second).sum(1), lengths, out=np.zeros(len(first)), where=lengths > 0)


def overlap(found: np.ndarray, reference: np.ndarray, size: int = NEIGHBOURS) -> float:
    """Share of every text's nearest neighbours among the others, by cosine, that are the reference's too."""
    size = min(size, len(found) - 1)
    if size < 1:
        return 1.0

    def nearest(rows: np.ndarray) -> np.ndarray:
        unit = np.float64(rows) / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        alike = unit @ unit.T
        np.fill_diagonal(alike, -np.inf)
        return np.argpartition(-alike, size - 1, axis=1)[:, :size]

    pairs = zip(nearest(found), nearest(reference), strict=True)
    return statistics.mean(len(set(one) & set(other)) / size for one, other in pairs)


def fidelity(found: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Vectors ``[texts, width]`` against the reference's.

    Raises:
        ValueError: another shape, or a number that is not finite.
    """
    if found.shape != reference.shape:
        raise ValueError(f"answers of shape {found.shape}, the reference's have {reference.shape}")
    if not np.isfinite(found).all():
        raise ValueError("an answer is not finite")
    alike = cosines(found, reference)
    return {
        "min_cosine": float(alike.min()),
        "mean_cosine": float(alike.mean()),
        "top10_overlap": overlap(found, reference),
    }


def rank_fidelity(found: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Scores ``[documents]`` against the reference's, by order alone: libraries differ in the activation they apply.

    Raises:
        ValueError: another shape, or a number that is not finite.
    """
    if found.shape != reference.shape or not np.isfinite(found).all():
        raise ValueError(f"{reference.shape} finite scores are expected, got {found.shape}")
    first, second = np.argsort(np.argsort(found)), np.argsort(np.argsort(reference))
    best = set(np.argsort(-found)[:NEIGHBOURS]) & set(np.argsort(-reference)[:NEIGHBOURS])
    correlation = float(np.corrcoef(first, second)[0, 1])
    return {"spearman": correlation, "top10_overlap": len(best) / min(NEIGHBOURS, len(found))}
