"""Graphs small enough to check by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

Array = np.ndarray
Run = Callable[..., list[Array]]

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[batch_size, sequence_length, 4] x) => (float[batch_size, sequence_length, 32] y) {{
{body}
}}
"""


def graph_of(body: str, **constants: Array) -> ir.Model:
    """Parse nodes of `x` to `y`; constants become initializers. Every result gets a float type."""
    program = ir.from_onnx_text(GRAPH.format(body=body))
    values = {value.name: value for node in program.graph for value in node.inputs if value is not None}
    for name, array in constants.items():
        values[name].const_value = ir.tensor(np.asarray(array, np.float32), name=name)
        values[name].shape = ir.Shape(np.shape(array))
        values[name].dtype = ir.DataType.FLOAT
        program.graph.register_initializer(values[name])
    for node in program.graph:
        for value in node.outputs:
            value.dtype = ir.DataType.FLOAT
            value.shape = value.shape or ir.Shape(["batch_size", "sequence_length", 32])
    return program


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return `run(program, x)`: its outputs in onnxruntime, nothing of it fused."""

    def run(program: ir.Model, x: Array, *, optimized: bool = True) -> list[Array]:
        ir.save(program, tmp_path / "graph.onnx")
        options = ort.SessionOptions()
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(tmp_path / "graph.onnx", options, providers=["CPUExecutionProvider"])
        return session.run(None, {"x": np.asarray(x, np.float32)})

    return run
