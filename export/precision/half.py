"""The fp16 and bf16 graphs: products in half precision, with float32 where the measured ranges ask for it.

Products with weights, attention's products and embedding tables are half, and so is what moves or combines half values
alone (adding, gating, reshaping). Norms, softmax, every other reduction, positions and the pooling head stay float32,
because none of them is in ``_COMBINING``. A value that came near the largest number of the type on calibration texts
makes every operator that touches it float32. Each result has its type in the graph; inputs and outputs of the graph
are int64 and float32 as ever.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import ml_dtypes
import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ..errors import ExportError
from ..graphs import values_of
from .linear import in_head
from .nodes import Maker

HalfName = Literal["fp16", "bf16"]
# How far half precision reaches, the widest first: everything that can be; without sums of two computed values, such as
# the residual stream; only the products with weights.
Reach = Literal["all", "no_sums", "weights"]
REACHES: tuple[Reach, ...] = get_args(Reach)

# Model types whose residual stream is known to leave the range of fp16 on some texts, whatever the calibration texts
# show: Gemma reaches 8e5 (transformers#37226), a few channels of Qwen overflow (Qwen3#826), and so does what T5's
# feed-forward layers add (transformers#9295).
_LOUD = ("gemma", "qwen", "t5", "mt5", "umt5")

_FLOAT = ir.DataType.FLOAT
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
_COMBINING = frozenset({"Add", "Sub", "Mul", "Neg", "Gelu", "Relu", "Sigmoid", "Tanh", "Where"})
_MOVING = frozenset({"Reshape", "Transpose", "Slice", "Split", "Concat", "Unsqueeze", "Squeeze", "Expand", "Gather"})
_MARGIN = 8
# Of the weights, how many may stay float32 before the graph is refused: it would be no half-precision graph.
_MOST_FLOAT = 0.5


@dataclass(frozen=True)
class Half:
    """A type of two bytes.

    Attributes:
        dtype: in ONNX.
        array: in numpy.
        largest: number of the type.
        smallest: least normal number.
    """

    dtype: ir.DataType
    array: np.dtype
    largest: float
    smallest: float

    @property
    def limit(self) -> float:
        """Magnitude on calibration texts up to which a value counts as safe on others."""
        return self.largest / _MARGIN


HALVES: dict[HalfName, Half] = {
    "fp16": Half(ir.DataType.FLOAT16, np.dtype(np.float16), 65504, 2**-14),
    "bf16": Half(ir.DataType.BFLOAT16, np.dtype(ml_dtypes.bfloat16), 3.3895e38, 2.0**-126),
}


def reaches(precision: HalfName, model_type: str) -> tuple[Reach, ...]:
    """What is tried for a model, in turn: in fp16 the residual stream of families known to overflow stays float32."""
    return REACHES[1:] if precision == "fp16" and model_type.startswith(_LOUD) else REACHES


def to_half(program: ir.Model, precision: HalfName, ranges: Mapping[str, float], reach: Reach = "all") -> ir.Model:
    """Make the half-precision graph.

    Args:
        program: the float32 graph; it is left as it was.
        precision: which type.
        ranges: largest magnitude of each inner value on calibration texts, by name.
        reach: which operators may be half, where their values fit.

    Raises:
        ExportError: too many weights would have to stay float32; the node with the largest value is named.
    """
    made = program.clone()
    half = HALVES[precision]
    chosen = _choose(made, half, ranges, reach)
    _require_enough(made, precision, chosen, ranges)
    maker = Maker(made.graph, precision)
    converter = _Converter(maker, half, chosen)
    for node in list(made.graph):
        converter.convert(node)
    converter.restore_outputs()
    RemoveUnusedNodesPass()(made)
    return made


def _choose(program: ir.Model, half: Half, ranges: Mapping[str, float], reach: Reach) -> set[ir.Node]:
    """The nodes that compute in half precision."""
    chosen: set[ir.Node] = set()
    for node in program.graph:
        if node.domain not in ("", "ai.onnx") or in_head(node) or not _is_float(node.outputs[0]):
            continue
        inputs = [value for value in node.inputs if value is not None and _is_float(value)]
        computed = [value for value in inputs if value.const_value is None]
        if all(_fits(value, half, ranges) for value in (*inputs, *node.outputs)) and (
            _begins(node, computed, reach) or _follows(node, computed, reach, chosen)
        ):
            chosen.add(node)
    return chosen


def _begins(node: ir.Node, computed: Sequence[ir.Value], reach: Reach) -> bool:
    """Whether a node is half whatever it reads: products, and rows of a table."""
    if reach == "weights":
        return node.op_type in _PRODUCTS and len(computed) == 1
    return node.op_type in _PRODUCTS or (node.op_type == "Gather" and not computed)


def _follows(node: ir.Node, computed: Sequence[ir.Value], reach: Reach, chosen: Collection[ir.Node]) -> bool:
    """Whether a node is half because all it reads is."""
    if reach == "weights" or not computed or not all(value.producer() in chosen for value in computed):
        return False
    if node.op_type == "Add" and len(computed) > 1:
        return reach == "all"
    return node.op_type in _COMBINING | _MOVING


def _fits(value: ir.Value, half: Half, ranges: Mapping[str, float]) -> bool:
    """Whether a value can be held: measured where it is computed, looked at where it is a constant."""
    if value.const_value is None:
        return ranges.get(str(value.name), np.inf) <= half.limit
    array = np.abs(value.const_value.numpy())
    largest = float(array.max(initial=0.0))
    return largest <= half.limit and (largest == 0 or largest >= half.smallest)


def _is_float(value: ir.Value) -> bool:
    return value.dtype == _FLOAT


def _require_enough(program: ir.Model, name: HalfName, chosen: set[ir.Node], ranges: Mapping[str, float]) -> None:
    """Refuse a graph of which most weights would stay float32, and name the node with the largest value."""
    weighted = {node: size for node in program.graph if (size := _weights(node))}
    kept = [node for node in weighted if node not in chosen]
    share = sum(weighted[node] for node in kept) / max(1, sum(weighted.values()))
    if share <= _MOST_FLOAT:
        return
    worst = max(kept, key=lambda node: _largest(node, ranges))
    raise ExportError(
        f"{name} cannot hold what this model computes: {worst.name} reaches {_largest(worst, ranges):.1e}, expected at "
        f"most {HALVES[name].limit:.1e}, and {share:.0%} of the weights would stay float32; leave {name} out"
        + (", take bf16" if name == "fp16" else "")
    )


def _weights(node: ir.Node) -> int:
    """Number of weights that a product of the backbone multiplies by; 0 for any other node."""
    if node.op_type not in _PRODUCTS or in_head(node):
        return 0
    return sum(v.const_value.size for v in node.inputs if v is not None and v.const_value is not None and _is_float(v))


def _largest(node: ir.Node, ranges: Mapping[str, float]) -> float:
    values = [v for v in (*node.inputs, *node.outputs) if v is not None and v.const_value is None]
    return max(ranges.get(str(value.name), np.inf) for value in values)


class _Converter:
    """Gives every chosen node half inputs and outputs, and casts at the borders, once a value."""

    def __init__(self, maker: Maker, half: Half, chosen: set[ir.Node]) -> None:
        self._maker = maker
        self._half = half
        self._chosen = chosen
        self._halves: dict[ir.Value, ir.Value] = {}  # float32 value -> the same in half
        self._floats: dict[ir.Value, ir.Value] = {}  # half value -> the same in float32

    def convert(self, node: ir.Node) -> None:
        """Convert one node; those before it have been."""
        wants_half = node in self._chosen
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            if wants_half and _is_float(value):
                node.replace_input_with(index, self._as_half(value, node))
            elif not wants_half and value.dtype == self._half.dtype:
                node.replace_input_with(index, self._as_float(value, node))
        if wants_half:
            for result in node.outputs:
                result.type = ir.TensorType(self._half.dtype)

    def restore_outputs(self) -> None:
        """Let every output of the graph be float32 again, under its own name."""
        graph = self._maker.graph
        for index, value in enumerate(graph.outputs):
            if value.dtype == self._half.dtype:
                name = value.name
                value.name = f"{name}/half"
                node = self._cast(value, _FLOAT)
                node.outputs[0].name = name
                graph.append(node)
                graph.outputs[index] = node.outputs[0]

    def _as_half(self, value: ir.Value, before: ir.Node) -> ir.Value:
        if value not in self._halves:
            if value.const_value is not None:
                array = value.const_value.numpy().astype(self._half.array)
                self._halves[value] = self._maker.constant(array, f"{value.name}/half")
            else:
                node = self._cast(value, self._half.dtype)
                self._maker.graph.insert_before(before, node)
                self._halves[value] = node.outputs[0]
        return self._halves[value]

    def _as_float(self, value: ir.Value, before: ir.Node) -> ir.Value:
        if value not in self._floats:
            node = self._cast(value, _FLOAT)
            self._maker.graph.insert_before(before, node)
            self._floats[value] = node.outputs[0]
        return self._floats[value]

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Node:
        return self._maker.node("Cast", (value,), value, dtype, to=int(dtype))


def emulate(program: ir.Model) -> ir.Model:
    """The same graph in float32, every half result rounded: the strictest reading of it, and one any host can run.

    A CPU has few operators in half precision, and onnxruntime leaves the rounding between two of them out.
    """
    made = program.clone()
    maker = Maker(made.graph, "emulated")
    for value in list(made.graph.initializers.values()):
        if value.const_value is not None and _is_half(value):
            array = value.const_value.numpy().astype(np.float32)
            value.const_value = ir.tensor(array, name=value.name)
            value.type = ir.TensorType(_FLOAT)
    for node in list(made.graph):
        for value in node.outputs:
            if _is_half(value):
                _round(maker, node, value)
    return made


def float_layers(program: ir.Model) -> list[str]:
    """Names of the backbone's products with weights that stayed float32."""
    return [str(node.name) for node in program.graph if _weights(node)]


def rounded_values(emulated: ir.Model) -> list[ir.Value]:
    """The values that an emulated graph rounds, in its order."""
    halves = {int(half.dtype) for half in HALVES.values()}
    return [
        node.inputs[0]
        for node in emulated.graph
        if node.op_type == "Cast" and node.attributes["to"].value in halves and node.inputs[0] is not None
    ]


def _is_half(value: ir.Value) -> bool:
    return value.dtype in {half.dtype for half in HALVES.values()}


def _round(maker: Maker, node: ir.Node, value: ir.Value) -> None:
    """Round one result behind the node that computes it."""
    dtype = ir.DataType(value.dtype or 0)
    readers = list(value.uses())
    if node.op_type == "Cast":
        rounded = node
    else:
        value.type = ir.TensorType(_FLOAT)
        rounded = maker.node("Cast", (value,), value, dtype, to=int(dtype))
        maker.graph.insert_after(node, rounded)
    widened = maker.node("Cast", (rounded.outputs[0],), value, _FLOAT, to=int(_FLOAT))
    maker.graph.insert_after(rounded, widened)
    for use in readers:
        use.node.replace_input_with(use.idx, widened.outputs[0])


def float_values(program: ir.Model) -> list[ir.Value]:
    """What ``ranges`` has to cover: every float32 value that a node computes."""
    return [v for v in values_of(program.graph) if v.producer() is not None and _is_float(v)]
