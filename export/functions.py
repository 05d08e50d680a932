"""Activation functions by definition, in float64 numpy: the reference's half of ``poolers/heads.py``.

Formulas are those of the PyTorch manual (``torch.nn``, default arguments) and of transformers' ``activations.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray

_erf_of_each = np.vectorize(math.erf, otypes=[np.float64])

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _erf(x: Array) -> Array:
    result: Array = _erf_of_each(x)  # numpy has none
    return result


def _sigmoid(x: Array) -> Array:
    result: Array = 1.0 / (1.0 + np.exp(-x))
    return result


def _softmax(x: Array) -> Array:
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _softplus(x: Array) -> Array:
    """``log(1 + exp(x))``; PyTorch returns x itself above 20, which differs by 2e-9 at most."""
    result: Array = np.logaddexp(0.0, x)
    return result


def _elu(x: Array) -> Array:
    result: Array = np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))
    return result


def _gelu_tanh(x: Array) -> Array:
    result: Array = 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
    return result


def unit(x: Array) -> Array:
    """Scale the last axis to length one; a zero vector stays zero."""
    result: Array = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return result


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "gelu": lambda x: 0.5 * x * (1.0 + _erf(x / 2**0.5)),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "celu": _elu,  # with alpha 1 they are the same
    "elu": _elu,
    "gelu_tanh": _gelu_tanh,
    "hardshrink": lambda x: np.where(np.abs(x) > 0.5, x, 0.0),
    "hardsigmoid": lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "hardswish": lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "hardtanh": lambda x: np.clip(x, -1.0, 1.0),
    "laplace": lambda x: 0.5 * (1.0 + _erf((x - 0.707107) / (0.282095 * np.sqrt(2.0)))),
    "leaky_relu": lambda x: np.where(x < 0, 0.01 * x, x),
    "log_sigmoid": lambda x: -_softplus(-x),
    "log_softmax": _log_softmax,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "relu_squared": lambda x: np.maximum(x, 0.0) ** 2,
    "rrelu": lambda x: np.where(x < 0, 11.0 / 48.0 * x, x),  # the mean of 1/8 and 1/3
    "selu": lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0.0))),
    "softmax": _softmax,
    "softmin": lambda x: _softmax(-x),
    "softplus": _softplus,
    "softshrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0.0),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "tanhshrink": lambda x: x - np.tanh(x),
    "normalize": unit,
}
