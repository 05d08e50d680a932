"""Make nodes for an existing graph: unique names, constants kept once, forms that depend on the opset."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

PREFIX = "pool_export/"
INT64_MAX = 2**63 - 1


class Builder:
    """Collects new nodes; ``nodes`` are put into the graph by the caller."""

    def __init__(self, graph: ir.Graph, opset: int, part: str) -> None:
        """Begin a part of a graph.

        Args:
            graph: where constants are registered.
            opset: its version of the standard operators, 13 or later.
            part: goes into the names.
        """
        self.graph = graph
        self.opset = opset
        self.part = part
        self.nodes: list[ir.Node] = []
        self._constants: dict[tuple[Any, ...], ir.Value] = {}

    def op(self, kind: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Add one node with one output."""
        name = f"{PREFIX}{self.part}/{kind}_{len(self.nodes)}"
        node = ir.node(kind, inputs, attributes, name=name)
        node.outputs[0].name = f"{name}/output"
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, value: np.ndarray | np.generic) -> ir.Value:
        """Register an initializer; equal small ones are shared."""
        array = np.asarray(value)
        key = (str(array.dtype), array.shape, array.tobytes()) if array.size < 16 else (len(self._constants),)
        if key not in self._constants:
            name = f"{PREFIX}{self.part}/constant_{len(self._constants)}"
            made = ir.Value(name=name, const_value=ir.tensor(array, name=name))
            made.shape, made.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
            self.graph.register_initializer(made)
            self._constants[key] = made
        return self._constants[key]

    def integer(self, value: int | list[int]) -> ir.Value:
        """An int64 constant."""
        return self.constant(np.array(value, dtype=np.int64))

    def number(self, value: float) -> ir.Value:
        """A float32 constant."""
        return self.constant(np.float32(value))

    def cast(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        """Convert to a type."""
        return self.op("Cast", value, to=int(kind))

    def total(self, value: ir.Value, axis: int) -> ir.Value:
        """Sum along an axis, which stays with size 1."""
        return self.op("ReduceSum", value, self.integer([axis]), keepdims=1)

    def largest(self, value: ir.Value, axis: int) -> ir.Value:
        """Maximum along an axis, which stays with size 1; the axes became an input in opset 18."""
        if self.opset >= 18:
            return self.op("ReduceMax", value, self.integer([axis]), keepdims=1)
        return self.op("ReduceMax", value, axes=[axis], keepdims=1)

    def unsqueeze(self, value: ir.Value, axis: int) -> ir.Value:
        """Insert an axis of size 1."""
        return self.op("Unsqueeze", value, self.integer([axis]))

    def squeeze(self, value: ir.Value, axis: int) -> ir.Value:
        """Drop an axis of size 1."""
        return self.op("Squeeze", value, self.integer([axis]))
