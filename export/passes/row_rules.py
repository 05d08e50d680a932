"""Which nodes work on each row by itself, and of which of their inputs the row is then enough."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from ..graphs import AXES

# One axis for each input, or ``None`` for an input that is needed whole.
Wanted = list[int | None]

_BATCH, _LENGTH = AXES


def picked_inputs(node: ir.Node, axis: int) -> Wanted | None:
    """Of which inputs a row is enough for a row of the output.

    Args:
        node: a node whose outputs have known ranks.
        axis: of the outputs, on which the row is.

    Returns:
        ``None`` where the rows depend on each other, or on the node in a way that is not known here.
    """
    rule = _RULES.get(node.op_type)
    if rule is None or node.domain or any(value.shape is None for value in node.outputs):
        return None
    return rule(node, axis)


def kept_sizes(reshape: ir.Node) -> list[int]:
    """The target of a Reshape that is made again for one row: first two axes as they come, the others as they were."""
    return [0, 0, *(int(dim) for dim in (reshape.outputs[0].shape or ())[2:] if isinstance(dim, int))]


def _rank(value: ir.Value) -> int:
    return len(value.shape or ())


def _elementwise(node: ir.Node, axis: int) -> Wanted | None:
    """Every input that has the axis; those that are broadcast along it are whole."""
    from_right = _rank(node.outputs[0]) - axis
    wanted: Wanted = []
    for value in node.inputs:
        if value is None or value.shape is None:
            return None
        own = _rank(value) - from_right
        dim = value.shape[own] if own >= 0 else 1
        if dim == 1:
            wanted.append(None)
        elif not isinstance(dim, int) and dim.value == _LENGTH:
            wanted.append(own)
        else:
            return None
    return wanted


def _along_last(node: ir.Node, axis: int) -> Wanted | None:
    """Norms and softmax over the last axis; what else they read are weights of that axis."""
    last = _rank(node.outputs[0]) - 1
    if axis == last or node.attributes.get_int("axis", -1) not in (-1, last):
        return None
    return [axis, *[None] * (len(node.inputs) - 1)]


def _reduction(node: ir.Node, axis: int) -> Wanted | None:
    """A sum or mean over the last axis, which stays with size 1."""
    last = _rank(node.outputs[0]) - 1
    axes = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
    keeps = node.attributes.get_int("keepdims", 1) == 1
    is_last = axes is not None and axes.numpy().tolist() in ([-1], [last])
    return [axis, None] if keeps and is_last and axis < last else None


def _slice(node: ir.Node, axis: int) -> Wanted | None:
    """A part of the last axis."""
    last = _rank(node.outputs[0]) - 1
    axes = node.inputs[3].const_value if len(node.inputs) > 3 and node.inputs[3] is not None else None
    is_last = axes is not None and axes.numpy().tolist() in ([-1], [last])
    return [axis, *[None] * (len(node.inputs) - 1)] if is_last and axis < last else None


def _concat(node: ir.Node, axis: int) -> Wanted | None:
    last = _rank(node.outputs[0]) - 1
    return [axis] * len(node.inputs) if axis < last and node.attributes["axis"].as_int() in (-1, last) else None


def _matmul(node: ir.Node, axis: int) -> Wanted | None:
    """Rows of the first factor, whatever the second is."""
    left = node.inputs[0]
    is_row = left is not None and _rank(left) == _rank(node.outputs[0]) and axis == _rank(left) - 2
    return [axis, None] if is_row else None


def _transpose(node: ir.Node, axis: int) -> Wanted | None:
    perm = node.attributes.get("perm")
    return None if perm is None else [perm.as_ints()[axis]]


def _reshape(node: ir.Node, axis: int) -> Wanted | None:
    """Only what comes after the length is arranged anew, and its sizes are known: heads are split, or joined."""
    source, result = node.inputs[0], node.outputs[0]
    if axis != 1 or source is None or source.shape is None or result.shape is None or len(source.shape) < 3:
        return None
    for shape in (source.shape, result.shape):
        named = [None if isinstance(dim, int) else dim.value for dim in shape]
        if named[:2] != [_BATCH, _LENGTH] or any(not isinstance(dim, int) for dim in shape[2:]):
            return None
    return [1, None]


_ELEMENTWISE = frozenset({
    "Abs", "Add", "Cast", "Div", "Erf", "Exp", "Gelu", "HardSigmoid", "Identity", "LeakyRelu", "Log", "Max", "Min",
    "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Swish", "Tanh", "Where",
})  # fmt: skip
_RULES: dict[str, Callable[[ir.Node, int], Wanted | None]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "Softmax"), _along_last),
    **dict.fromkeys(("ReduceMean", "ReduceSum"), _reduction),
    "Slice": _slice,
    "Split": _along_last,
    "Concat": _concat,
    "MatMul": _matmul,
    "Transpose": _transpose,
    "Reshape": _reshape,
}
