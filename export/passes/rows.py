"""CLS and LAST pooling take one row of the last layer: compute that row, and not the others to throw them away.

What stands between the rows that all layers share and the pooled one works on rows by themselves: linear layers, norms,
activations, and attention as far as queries go (keys and values are needed of every token). Such a node can as well
take the one row. With two layers (TinyBERT) that is 40 % of a cross-encoder's work, with six 14 %. An embedder's graph
answers ``last_hidden_state`` too, so all of its rows are needed and nothing is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from ..adopt.builder import Builder
from ..graphs import AXES
from .row_rules import kept_sizes, picked_inputs

_BATCH, _LENGTH = AXES


@dataclass
class _Cone:
    """The nodes that only the pooled row needs.

    Attributes:
        axis: on which axis a value's row is picked.
        readers: what reads the row of a value, as node and position.
        nodes: that are made again for one row, last ones first.
    """

    axis: dict[ir.Value, int]
    readers: set[tuple[ir.Node, int]]
    nodes: list[ir.Node] = field(default_factory=list)


def pick_rows_first(graph: ir.Graph) -> int:
    """Move the choice of the pooled row in front of what is computed of each row.

    Returns:
        How many nodes work on one row instead of all.
    """
    builder = Builder(graph, graph.opset_imports[""], "rows")
    found = 0
    for pick in [node for node in graph if node.op_type == "GatherElements"]:
        index = _row_index(pick)
        if index is None:
            continue
        cone = _cone(graph, pick)
        if not any(node.op_type == "MatMul" for node in cone.nodes):
            continue
        _rebuild(builder, pick, index, cone)
        found += len(cone.nodes)
    if found:
        graph.extend(builder.nodes)
        graph.sort()
    return found


def _row_index(pick: ir.Node) -> ir.Value | None:
    """Which row of each text a GatherElements takes, ``[batch_size, 1, 1]``, if it takes one whole row of states."""
    states, expanded = pick.inputs
    expand = expanded.producer() if expanded is not None else None
    if states is None or expand is None or expand.op_type != "Expand" or pick.attributes.get_int("axis", 0) != 1:
        return None
    index, result = expand.inputs[0], pick.outputs[0]
    is_row = _dims(states)[:2] == [_BATCH, _LENGTH] and _dims(result) == [_BATCH, 1, _dims(states)[-1]]
    return index if is_row and index is not None and _dims(index) == [_BATCH, 1, 1] else None


def _dims(value: ir.Value | None) -> list[int | str | None]:
    if value is None or value.shape is None:
        return []
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def _cone(graph: ir.Graph, pick: ir.Node) -> _Cone:
    """Go from the picked value upwards, as long as nothing else needs the other rows."""
    states = pick.inputs[0]
    cone = _Cone(axis={} if states is None else {states: 1}, readers={(pick, 0)})
    outputs = set(graph.outputs)
    for node in reversed(list(graph)):
        axes = {cone.axis.get(value) for value in node.outputs}
        axis = next(iter(axes))
        if len(axes) > 1 or axis is None or outputs & set(node.outputs):
            continue
        if any((use.node, use.idx) not in cone.readers for value in node.outputs for use in value.uses()):
            continue
        wanted = picked_inputs(node, axis)
        if wanted is None or not _can_pick(node, wanted, cone):
            continue
        cone.nodes.append(node)
        for position, (value, on) in enumerate(zip(node.inputs, wanted, strict=True)):
            if on is not None and value is not None:
                cone.axis[value] = on
                cone.readers.add((node, position))
    return cone


def _can_pick(node: ir.Node, wanted: list[int | None], cone: _Cone) -> bool:
    """Whether a row can be picked of each input that has rows: numbers of all texts, on one axis for all readers."""
    pairs = [(value, on) for value, on in zip(node.inputs, wanted, strict=True) if on is not None and value is not None]
    return all(
        _dims(value)[:1] == [_BATCH] and value.dtype != ir.DataType.BOOL and cone.axis.get(value, on) == on
        for value, on in pairs
    )


def _rebuild(builder: Builder, pick: ir.Node, index: ir.Value, cone: _Cone) -> None:
    """Make the nodes again, for the row; the old ones are left without a reader."""
    rows: dict[ir.Value, ir.Value] = {}
    for node in reversed(cone.nodes):
        inputs: list[ir.Value | None] = []
        for position, value in enumerate(node.inputs):
            if value is None or (node, position) not in cone.readers:
                inputs.append(value)
                continue
            if value not in rows:
                rows[value] = _picked(builder, index, value, cone.axis[value])
            inputs.append(rows[value])
        attributes = list(node.attributes.values())
        if node.op_type == "Reshape":
            inputs[1], attributes = builder.integer(kept_sizes(node)), []
        made = ir.Node("", node.op_type, inputs, attributes, num_outputs=len(node.outputs))
        made.metadata_props.update(node.metadata_props)
        builder.nodes.append(made)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            _name(new, old, cone.axis[old])
            rows[old] = new
    states = pick.inputs[0]
    if states is not None:
        ir.convenience.replace_all_uses_with(pick.outputs[0], rows[states])


def _picked(builder: Builder, index: ir.Value, value: ir.Value, axis: int) -> ir.Value:
    """Pick the row of a value that has all of them."""
    rank = len(_dims(value))
    # One index for all numbers of a row: its own shape, with one place on the axis. (Products and sums of shapes are
    # what TensorRT computes of them as well.)
    others = [int(place != axis) for place in range(rank)]
    sizes = builder.op("Mul", builder.op("Shape", value), builder.integer(others))
    target = builder.op("Add", sizes, builder.integer([1 - other for other in others]))
    flat = builder.op("Reshape", index, builder.integer([-1] + [1] * (rank - 1)))
    row = builder.op("GatherElements", value, builder.op("Expand", flat, target), axis=axis)
    _name(row, value, axis)
    return row


def _name(row: ir.Value, whole: ir.Value, axis: int) -> None:
    """Give a row the type and the shape of the value it is of."""
    row.type = whole.type
    row.shape = ir.Shape([1 if place == axis else dim for place, dim in enumerate(_dims(whole))])
    row.name = f"{whole.name}/row"
