from __future__ import annotations

import numpy as np
import pytest

from pool_export.benchmarks import stats


def test_the_summary_of_five_rounds() -> None:
    found = stats.summary([5.0, 1.0, 3.0, 2.0, 4.0])
    assert found == {"median": 3.0, "q1": 2.0, "q3": 4.0, "min": 1.0, "max": 5.0, "n": 5}


def test_a_ratio_needs_as_many_rounds_of_each() -> None:
    assert stats.ratio([2.0, 9.0, 8.0], [1.0, 3.0, 2.0]) == 3.0
    with pytest.raises(ValueError, match="zip"):
        stats.ratio([1.0], [1.0, 2.0])


def test_cosines_of_rows() -> None:
    found = stats.cosines(np.array([[2.0, 0], [0, 1], [0, 0]]), np.array([[1.0, 0], [1, 1], [1, 0]]))
    assert found == pytest.approx([1, 0.5**0.5, 0])


def test_the_overlap_counts_neighbours_that_are_the_same() -> None:
    circle = np.linspace(0, np.pi / 2, 30)
    reference = np.stack([np.cos(circle), np.sin(circle)], axis=1)
    assert stats.overlap(reference, reference) == 1.0
    shuffled = np.random.default_rng(0).permutation(reference)
    assert stats.overlap(shuffled, reference) < 0.6
    assert stats.overlap(reference[:1], reference[:1]) == 1.0


def test_fidelity_refuses_what_cannot_be_compared() -> None:
    rows = np.eye(3, dtype=np.float32)
    assert stats.fidelity(rows, rows)["min_cosine"] == 1.0
    with pytest.raises(ValueError, match="shape"):
        stats.fidelity(rows[:2], rows)
    with pytest.raises(ValueError, match="finite"):
        stats.fidelity(rows * np.nan, rows)


def test_scores_are_compared_by_their_order_alone() -> None:
    logits = np.linspace(-4, 4, 40)
    assert stats.rank_fidelity(1 / (1 + np.exp(-logits)), logits) == {"spearman": pytest.approx(1), "top10_overlap": 1}
    assert stats.rank_fidelity(-logits, logits) == {"spearman": pytest.approx(-1), "top10_overlap": 0}
    with pytest.raises(ValueError, match="scores"):
        stats.rank_fidelity(logits[:3], logits)
