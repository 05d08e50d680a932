"""Make nodes for a traced graph: every result with its type and shape, equal constants kept once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

PREFIX = "pool_export/"


class Maker:
    """Makes nodes of one graph; whoever asks for one puts it in its place."""

    def __init__(self, graph: ir.Graph, part: str) -> None:
        """Begin; ``part`` goes into the names."""
        self.graph = graph
        self.part = part
        self._constants: dict[tuple[Any, ...], ir.Value] = {}
        self._made = 0

    def node(
        self, kind: str, inputs: Sequence[ir.Value | None], like: ir.Value, dtype: ir.DataType, **named: Any
    ) -> ir.Node:
        """Make a node whose result has the shape of ``like``, and the type ``dtype``.

        Args:
            kind: operator of the standard.
            inputs: what it reads.
            like: value whose shape the result has.
            dtype: type of its elements.
            named: attributes, and ``shape`` where it is not that of ``like``.
        """
        shape = named.pop("shape", like.shape)
        name = self._name(kind)
        result = ir.Value(name=f"{name}/output", shape=shape, type=ir.TensorType(dtype))
        return ir.Node(
            "", kind, inputs, attributes=ir.convenience.convert_attributes(named), outputs=[result], name=name
        )

    def constant(self, value: np.ndarray | np.generic, name: str = "") -> ir.Value:
        """Register an initializer; equal small ones are shared, large ones are named."""
        array = np.asarray(value)
        key = (str(array.dtype), array.shape, array.tobytes())
        if array.size > 16:
            return self._register(array, PREFIX + name)
        if key not in self._constants:
            self._constants[key] = self._register(array, f"{PREFIX}{self.part}/constant_{len(self._constants)}")
        return self._constants[key]

    def _register(self, array: np.ndarray, name: str) -> ir.Value:
        tensor = ir.tensor(array, name=name)
        made = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        self.graph.register_initializer(made)
        return made

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{PREFIX}{self.part}/{kind}_{self._made}"
