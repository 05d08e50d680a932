"""Largest magnitude of every inner value on calibration texts, padding and an empty row included."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ...runtime.tokens import Encoded
from .calibration import Array, opened
from .nodes import Maker

_FLOAT = ir.DataType.FLOAT
_ROWS = 4  # texts of a batch


def record_ranges(
    program: ir.Model, values: Sequence[ir.Value], inputs: Sequence[Encoded], pad_id: int
) -> dict[str, float]:
    """Run the graph over padded batches and keep the largest magnitude of each value; infinity for a NaN.

    Args:
        program: a graph of float32; it is left as it was.
        values: float32 values of it.
        inputs: the texts.
        pad_id: token that fills padded positions.
    """
    names = [str(value.name) for value in values]
    watched, answers = _watch(program, names)
    largest = np.zeros(len(names))
    with tempfile.TemporaryDirectory(prefix="pool-export-") as folder:
        run = opened(watched, answers, Path(folder))
        declared = [str(value.name) for value in program.graph.inputs]
        for feeds in _batches(inputs, pad_id):
            found = np.array(run(None, {name: feeds[name] for name in declared}), np.float64)
            largest = np.maximum(largest, np.where(np.isnan(found), np.inf, found))
    return dict(zip(names, largest.tolist(), strict=True))


def _watch(program: ir.Model, names: Iterable[str]) -> tuple[ir.Model, list[ir.Value]]:
    """Add the largest magnitude of each value to a copy of the graph."""
    watched = program.clone()
    maker = Maker(watched.graph, "ranges")
    known = {str(value.name): value for node in watched.graph for value in node.outputs}
    answers = []
    for name in names:
        magnitude = maker.node("Abs", (known[name],), known[name], _FLOAT)
        largest = maker.node("ReduceMax", magnitude.outputs, known[name], _FLOAT, keepdims=0, shape=ir.Shape([]))
        watched.graph.extend([magnitude, largest])
        answers.append(largest.outputs[0])
    return watched, answers


def _batches(inputs: Sequence[Encoded], pad_id: int) -> Iterable[dict[str, Array]]:
    """Batches of texts that differ in length, padded on the right, and one row without a token."""
    for start in range(0, len(inputs), _ROWS):
        items = inputs[start : start + _ROWS]
        shape = (len(items) + 1, max(map(len, items)))
        names = ("input_ids", "attention_mask", "token_type_ids", "pooling_mask")
        feeds = {name: np.zeros(shape, np.int64) for name in names}
        feeds["input_ids"][:] = pad_id
        for row, item in enumerate(items):
            size = len(item)
            feeds["input_ids"][row, :size] = item.ids
            feeds["attention_mask"][row, : size - item.unattended] = 1
            feeds["token_type_ids"][row, :size] = item.type_ids
            feeds["pooling_mask"][row, item.prompt_length : size] = 1
        yield feeds
