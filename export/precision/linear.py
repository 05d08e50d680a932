"""Find the linear layers of a traced graph: products with a constant weight, grouped by what they read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..graphs import AXES

Array = np.ndarray

# The pooling head computes in float32 whatever the backbone does (docs/design.md section 5).
_HEAD = "pool_export.poolers.pooler.Pooler"

# Below this many outputs a layer is cheaper than reading its input once more.
_FEWEST_OUTPUTS = 16


@dataclass(frozen=True)
class Linear:
    """One layer: ``x @ weight (+ bias)``.

    Attributes:
        node: ``MatMul``, or ``Gemm``.
        weight: float32 ``[inputs, outputs]``.
    """

    node: ir.Node
    weight: Array

    @property
    def bias(self) -> ir.Value | None:
        """What a ``Gemm`` adds itself."""
        return self.node.inputs[2] if self.node.op_type == "Gemm" and len(self.node.inputs) > 2 else None


@dataclass(frozen=True)
class LinearGroup:
    """The layers that read one value, such as query, key and value of an attention."""

    source: ir.Value
    layers: tuple[Linear, ...]

    @property
    def name(self) -> str:
        """Name of the value that is read."""
        return str(self.source.name)

    @property
    def weight(self) -> Array:
        """All weights beside each other, float32 ``[inputs, outputs]``."""
        return np.concatenate([layer.weight for layer in self.layers], axis=1)


def find_linears(program: ir.Model) -> list[LinearGroup]:
    """List the backbone's linear layers, in the graph's order.

    Left out are the pooling head, layers of one row a text (their cost is nothing), and the smallest ones.
    """
    found: dict[ir.Value, list[Linear]] = {}
    for node in program.graph:
        weight = _weight(node)
        source = node.inputs[0] if node.inputs else None
        if weight is None or source is None or in_head(node) or _is_per_text(source):
            continue
        found.setdefault(source, []).append(Linear(node, weight))
    groups = [LinearGroup(source, tuple(layers)) for source, layers in found.items()]
    return [group for group in groups if sum(layer.weight.shape[1] for layer in group.layers) >= _FEWEST_OUTPUTS]


def in_head(node: ir.Node) -> bool:
    """Whether a node belongs to the pooling head; the trace notes the module that each node came from."""
    return _HEAD in node.metadata_props.get("namespace", "")


def weights_of(groups: Iterable[LinearGroup]) -> int:
    """Number of weights."""
    return sum(layer.weight.size for group in groups for layer in group.layers)


def _weight(node: ir.Node) -> Array | None:
    """The constant factor of a product as ``[inputs, outputs]``; ``None`` for any other node."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm"):
        return None
    factor = node.inputs[1]
    constant = factor.const_value if factor is not None else None
    if constant is None or constant.dtype != ir.DataType.FLOAT or len(constant.shape) != 2:
        return None
    array = constant.numpy()
    if node.op_type == "MatMul":
        return array
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(_attribute(node, name, value) != value for name, value in plain.items()):
        return None
    return array.T if _attribute(node, "transB", 0) else array


def _attribute(node: ir.Node, name: str, default: float) -> float:
    return float(node.attributes[name].value) if name in node.attributes else default


def _is_per_text(value: ir.Value) -> bool:
    shape = value.shape
    return shape is not None and len(shape) == 2 and shape[0] == AXES[0]
