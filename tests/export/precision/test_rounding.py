from __future__ import annotations

import numpy as np

from pool_export.export.precision.rounding import best_scheme, divisors_of, round_rows, round_weight


def test_whole_numbers_of_a_column_stay_what_they_are():
    weight = np.array([[127, -2, 0], [-127, 1, 0], [64, 0, 0]], np.float32) * np.float32([0.5, 0.25, 1])
    integers, scale = round_weight(weight, np.array([1.0]))
    assert integers.dtype == np.int8
    assert integers[:, 0].tolist() == [127, -127, 64]
    np.testing.assert_allclose(integers[:, :2] * scale[:2], weight[:, :2], atol=0.25 / 127)
    assert not integers[:, 2].any()  # a column of zeros has a scale all the same
    assert np.isfinite(scale).all()


def test_a_scale_of_less_error_than_the_largest_weight_asks_for():
    weight = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    weight[0] = 6

    def error(cuts: np.ndarray | None) -> np.ndarray:
        integers, scale = round_weight(weight) if cuts is None else round_weight(weight, cuts)
        return ((integers * scale - weight) ** 2).sum(axis=0)

    assert (error(None) <= error(np.array([1.0]))).all()


def test_a_row_is_rounded_by_its_own_largest_value():
    rows = np.array([[1.27, 0.01, -0.004], [-12.7, 0.1, 0.04], [0, 0, 0]])
    np.testing.assert_allclose(round_rows(rows), [[1.27, 0.01, 0], [-12.7, 0.1, 0], [0, 0, 0]], atol=1e-12)


def test_divisors_move_a_wide_channel_into_the_weights():
    values, weight = np.array([[100.0, 1.0], [-50.0, -1.0]]), np.array([[1.0], [1.0]])
    assert divisors_of(values, weight, 0).tolist() == [1, 1]
    np.testing.assert_allclose(divisors_of(values, weight, 0.5), [10**0.5, 10**-0.5], rtol=1e-6)
    np.testing.assert_allclose(divisors_of(values, weight, 1), [10, 0.1], rtol=1e-6)


def test_the_scheme_of_a_wide_channel_is_smooth_and_says_its_error():
    generator = np.random.default_rng(1)
    values = generator.normal(size=(500, 16)).astype(np.float32) * np.float32([60] + [1] * 15)
    weight = generator.normal(size=(16, 8)).astype(np.float32)
    weight[0] /= 60
    plain = np.linalg.norm(round_rows(values) @ weight - values @ weight) / np.linalg.norm(values @ weight)
    scheme = best_scheme(values, weight)
    assert scheme.divisors[0] > 4 * scheme.divisors[1:].max()
    assert 0.001 < scheme.error < plain / 2
