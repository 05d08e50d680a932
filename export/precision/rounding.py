"""8-bit integers: how weights and activations are rounded, and what the rounding costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

MOST = 127  # largest magnitude of a signed integer
ZERO_POINT = 128  # added to a row's integers, which are unsigned: what x86's instructions multiply by signed weights
LEAST = 1e-8  # magnitude below which a row counts as zero

# Exponents of SmoothQuant (arXiv 2211.10438) that are tried, 0 for none of it.
_STRENGTHS = (0.0, 0.5, 0.65)
# Moving scale takes a pass over the values at run time: it has to be worth this much.
_WORTH = 1.2
# Shares of a column's largest weight that are tried as its range: cutting off one weight may round the others better.
_CUTS = np.linspace(0.6, 1.0, 21)


@dataclass(frozen=True)
class Scheme:
    """How the input of a group of layers is rounded: each token's row by its own largest value.

    Attributes:
        divisors: what each channel is divided by before, float32 ``[inputs]``; the weights are multiplied by it.
        error: root mean square of what the rounding changes in the layers' outputs, relative to their own spread.
    """

    divisors: Array
    error: float


def round_weight(weight: Array, cuts: Array = _CUTS) -> tuple[Array, Array]:
    """Round to signed 8-bit integers with a scale for each column.

    The scale is the one of least squared error among the ``cuts`` of the column's largest weight.

    Args:
        weight: float32 ``[inputs, outputs]``.
        cuts: shares of the largest weight.

    Returns:
        int8 ``[inputs, outputs]`` and float32 ``[outputs]``.
    """
    largest = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny * MOST)
    best, least = largest / MOST, np.full(len(largest), np.inf, np.float32)
    for cut in cuts:
        scale = (largest * cut / MOST).astype(np.float32)
        error = ((_integers(weight, scale) * scale - weight) ** 2).sum(axis=0)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    best = best.astype(np.float32)
    return _integers(weight, best).astype(np.int8), best


def _integers(weight: Array, scale: Array) -> Array:
    integers: Array = np.clip(np.rint(weight / scale), -MOST, MOST)
    return integers


def round_rows(values: Array) -> Array:
    """Round each row to 255 levels of its own, ``[rows, inputs]``, as the graph does."""
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), LEAST) / MOST
    rounded: Array = np.rint(values / scale) * scale
    return rounded


def divisors_of(values: Array, weight: Array, strength: float) -> Array:
    """SmoothQuant's factors: how much of a channel's range moves from the activation into the weights.

    Args:
        values: ``[rows, inputs]``.
        weight: ``[inputs, outputs]``.
        strength: 0 for none of it, 1 for all.
    """
    if strength == 0:
        return np.ones(len(weight), np.float32)
    ranges = np.maximum(np.abs(values).max(axis=0), 1e-5)
    weights = np.maximum(np.abs(weight).max(axis=1), 1e-5)
    factors = np.log(ranges) * strength - np.log(weights) * (1 - strength)
    divisors: Array = np.exp(factors - factors.mean()).astype(np.float32)
    return divisors


def best_scheme(values: Array, weight: Array) -> Scheme:
    """The scheme of least error on recorded rows; without divisors where they gain little.

    Args:
        values: float32 ``[rows, inputs]``.
        weight: float32 ``[inputs, outputs]``.
    """
    wanted = values @ weight
    spread = max(float(np.sqrt(((wanted - wanted.mean(axis=0)) ** 2).sum(axis=1).mean())), LEAST)
    tried = []
    for strength in _STRENGTHS:
        divisors = divisors_of(values, weight, strength)
        integers, scale = round_weight(weight * divisors[:, None], _CUTS[-1:])
        change = round_rows(values / divisors) @ (integers * scale) - wanted
        tried.append(Scheme(divisors, float(np.sqrt((change**2).sum(axis=1).mean())) / spread))
    plain, best = tried[0], min(tried, key=lambda scheme: scheme.error)
    return plain if plain.error <= _WORTH * best.error else best
