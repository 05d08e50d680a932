"""The pooling head as ONNX nodes: pooling, modules, activation.

The same definitions as ``poolers/methods.py`` and ``heads.py`` hold in torch. Rows come rolled: the first token
of a text is at position 0, and padding follows the last one (``surgery.py``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ...poolers.parts import HeadStep
from ...poolers.spec import Activation, PoolingType
from ..errors import ExportError
from ..source import Source
from .builder import Builder
from .weights import step_arrays

_MIN_COUNT = 1e-9
_NORM_EPS = 1e-12
_LAYER_NORM_EPS = 1e-5


class Row:
    """A batch of texts inside the graph.

    Attributes:
        states: float32 ``[batch_size, sequence_length, hidden]``.
        mask: int64 ``[batch_size, sequence_length]``.
        position: int64 ``[sequence_length]``, from 0.
    """

    def __init__(self, builder: Builder, states: ir.Value, mask: ir.Value, position: ir.Value) -> None:
        """Keep the values and the masks that several methods need."""
        self.states = states
        self.mask = mask
        self.position = position
        self.is_token = builder.unsqueeze(builder.cast(mask, ir.DataType.BOOL), 2)
        self.cleared = builder.op("Where", self.is_token, states, builder.number(0.0))


def _count(builder: Builder, weights: ir.Value) -> ir.Value:
    total = builder.cast(builder.total(weights, 1), ir.DataType.FLOAT)
    return builder.op("Max", total, builder.number(_MIN_COUNT))


def _sum(builder: Builder, values: ir.Value) -> ir.Value:
    return builder.squeeze(builder.total(values, 1), 1)


def _cls(builder: Builder, row: Row) -> ir.Value:
    return builder.op("Gather", row.cleared, builder.integer(0), axis=1)


def _last(builder: Builder, row: Row) -> ir.Value:
    counted = builder.op("Mul", row.mask, builder.op("Add", row.position, builder.integer(1)))
    # int32: ArgMax has no int64 kernel in onnxruntime (onnxruntime#10068).
    index = builder.op("ArgMax", builder.cast(counted, ir.DataType.INT32), axis=1, keepdims=1)
    return builder.op("GatherND", row.cleared, index, batch_dims=1)


def _mean(builder: Builder, row: Row) -> ir.Value:
    return builder.op("Div", _sum(builder, row.cleared), _count(builder, row.mask))


def _mean_sqrt_len(builder: Builder, row: Row) -> ir.Value:
    return builder.op("Div", _sum(builder, row.cleared), builder.op("Sqrt", _count(builder, row.mask)))


def _weighted_mean(builder: Builder, row: Row) -> ir.Value:
    weights = builder.op("Mul", builder.op("CumSum", row.mask, builder.integer(1)), row.mask)
    factors = builder.unsqueeze(builder.cast(weights, ir.DataType.FLOAT), 2)
    return builder.op("Div", _sum(builder, builder.op("Mul", row.cleared, factors)), _count(builder, weights))


def _maximum(builder: Builder, row: Row) -> ir.Value:
    lowest = builder.number(float(np.finfo(np.float32).min))
    largest = builder.squeeze(builder.largest(builder.op("Where", row.is_token, row.states, lowest), 1), 1)
    has_tokens = builder.cast(builder.largest(row.mask, 1), ir.DataType.BOOL)
    return builder.op("Where", has_tokens, largest, builder.number(0.0))


METHODS: dict[PoolingType, Callable[[Builder, Row], ir.Value]] = {
    "LAST": _last,
    "CLS": _cls,
    "MEAN": _mean,
    "MAX": _maximum,
    "MEAN_SQRT_LEN": _mean_sqrt_len,
    "WEIGHTED_MEAN": _weighted_mean,
}


def pool(builder: Builder, row: Row, pooling: tuple[PoolingType, ...]) -> ir.Value:
    """Pool to float32 ``[batch_size, hidden]``, several results side by side.

    Raises:
        ExportError: a pooling type that has no form here.
    """
    unknown = [kind for kind in pooling if kind not in METHODS]
    if unknown:
        raise ExportError(
            f"pooling type {unknown[0]} cannot be put into an adopted graph; supported: {', '.join(METHODS)}"
        )
    parts = [METHODS[kind](builder, row) for kind in pooling]
    return parts[0] if len(parts) == 1 else builder.op("Concat", *parts, axis=-1)


def _normalize(builder: Builder, x: ir.Value) -> ir.Value:
    length = builder.op("Sqrt", builder.total(builder.op("Mul", x, x), -1))
    return builder.op("Div", x, builder.op("Max", length, builder.number(_NORM_EPS)))


def _gelu(builder: Builder, x: ir.Value) -> ir.Value:
    spread = builder.op("Erf", builder.op("Mul", x, builder.number(float(np.sqrt(0.5)))))
    half = builder.op("Mul", x, builder.number(0.5))
    return builder.op("Mul", half, builder.op("Add", spread, builder.number(1.0)))


FUNCTIONS: dict[str, Callable[[Builder, ir.Value], ir.Value]] = {
    "identity": lambda builder, x: x,
    "tanh": lambda builder, x: builder.op("Tanh", x),
    "relu": lambda builder, x: builder.op("Relu", x),
    "gelu": _gelu,
    "silu": lambda builder, x: builder.op("Mul", x, builder.op("Sigmoid", x)),
    "sigmoid": lambda builder, x: builder.op("Sigmoid", x),
    "softmax": lambda builder, x: builder.op("Softmax", x, axis=-1),
    "normalize": _normalize,
}


def apply(builder: Builder, name: Activation | str, x: ir.Value) -> ir.Value:
    """Apply a function by its name.

    Raises:
        ExportError: one that has no form here.
    """
    if name not in FUNCTIONS:
        raise ExportError(f"function {name!r} cannot be put into an adopted graph; supported: {', '.join(FUNCTIONS)}")
    return FUNCTIONS[name](builder, x)


class Steps:
    """The modules after pooling; weights are registered once, however often the steps are applied."""

    def __init__(self, builder: Builder, source: Source, steps: tuple[HeadStep, ...]) -> None:
        """Read the weights.

        Raises:
            SourceError: they are missing.
            ExportError: a kind of module that has no form here.
        """
        self._builder = builder
        self._steps: list[tuple[HeadStep, dict[str, ir.Value]]] = []
        for step in steps:
            if step.kind not in ("dense", "layer_norm", "normalize"):
                raise ExportError(f"{step.path}: a {step.kind} module cannot be put into an adopted graph")
            arrays = {} if step.kind == "normalize" else step_arrays(source, step)
            if step.kind == "dense":
                arrays["weight"] = np.ascontiguousarray(arrays["weight"].T)
            self._steps.append((step, {name: builder.constant(array) for name, array in arrays.items()}))

    def apply(self, x: ir.Value) -> ir.Value:
        """Run the steps along the last axis."""
        for step, weights in self._steps:
            x = self._apply(step, weights, x)
        return x

    def _apply(self, step: HeadStep, weights: dict[str, ir.Value], x: ir.Value) -> ir.Value:
        builder = self._builder
        if step.kind == "normalize":
            return _normalize(builder, x)
        if step.kind == "layer_norm":
            width = builder.number(float(step.in_features or 1))
            centred = builder.op("Sub", x, builder.op("Div", builder.total(x, -1), width))
            variance = builder.op("Div", builder.total(builder.op("Mul", centred, centred), -1), width)
            spread = builder.op("Sqrt", builder.op("Add", variance, builder.number(_LAYER_NORM_EPS)))
            scaled = builder.op("Mul", builder.op("Div", centred, spread), weights["weight"])
            return builder.op("Add", scaled, weights["bias"])
        projected = builder.op("MatMul", x, weights["weight"])
        if "bias" in weights:
            projected = builder.op("Add", projected, weights["bias"])
        return apply(builder, step.activation, projected)
