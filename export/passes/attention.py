"""Scaled dot-product attention as torch's exporter writes it, with less around the two products.

Both patterns are those of onnxscript's lowering and of the patch that transformers' exporter puts around it
(``exporters/exporter_onnx.py``, ``_patch_scaled_dot_product_attention``). What does not match exactly is left as it is.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_LAST_TWO = (0, 1, 3, 2)


def transpose_keys_once(graph: ir.Graph) -> int:
    """Transpose keys ``[batch, heads, length, size]`` to ``[…, size, length]`` in one step.

    onnxscript flattens them to three axes, swaps the last two and restores the fourth, because it does not know their
    rank; behind the transposition that split the heads that is a second copy of all keys.

    Returns:
        How many were rewritten.
    """
    found = 0
    for restore in list(graph):
        source = _keys(restore)
        if source is None:
            continue
        perm: tuple[int, ...] = _LAST_TWO
        split = source.producer()
        if split is not None and split.op_type == "Transpose" and split.inputs[0] is not None:
            first = split.attributes["perm"].as_ints()
            perm, source = tuple(first[axis] for axis in _LAST_TWO), split.inputs[0]
        result = restore.outputs[0]
        made = ir.node("Transpose", [source], {"perm": list(perm)})
        made.metadata_props.update(restore.metadata_props)
        _stand_in(made.outputs[0], result)
        graph.insert_before(restore, made)
        ir.convenience.replace_all_uses_with(result, made.outputs[0])
        found += 1
    return found


def guard_masks(graph: ir.Graph) -> int:
    """Keep rows without anything to attend to finite in the mask, once, and not in every layer's result.

    The exporter replaces the result of such rows (padding under a window, rows of nothing but padding) by zeros, which
    copies ``[batch, heads, length, size]`` in every layer. Without their mask they are the mean of some values, finite
    too, and nothing reads them. Rows with something to attend to stay exactly as they were.

    Returns:
        How many results are no longer copied.
    """
    guarded: dict[tuple[ir.Value, ir.Value], ir.Value] = {}
    found = 0
    for choice in list(graph):
        masked = _masked_add(choice)
        if masked is None:
            continue
        add, mask, unattended, result = masked
        if (unattended, mask) not in guarded:
            made = ir.node("Where", [unattended, choice.inputs[1], mask])
            _stand_in(made.outputs[0], mask, f"{mask.name}/guarded")
            graph.insert_before(add, made)
            guarded[unattended, mask] = made.outputs[0]
        add.replace_input_with(list(add.inputs).index(mask), guarded[unattended, mask])
        ir.convenience.replace_all_uses_with(choice.outputs[0], result)
        found += 1
    if found:
        graph.sort()  # what says which rows are unattended may stand behind the first sum
    return found


def _keys(restore: ir.Node) -> ir.Value | None:
    """What the last two of four axes are swapped of, if this is the last of the three nodes that do it."""
    swapped = _made_by(restore.outputs[0], "Reshape") and _made_by(restore.inputs[0], "Transpose")
    flat = _made_by(swapped.inputs[0], "Reshape") if swapped else None
    source = flat.inputs[0] if flat else None
    if not swapped or not flat or source is None or source.shape is None or len(source.shape) != len(_LAST_TWO):
        return None
    rest, length, size = (None, -2), (-2, -1), (-1, None)
    there = [(-1,), length, size] == _target(flat, source)
    back = [rest, size, length] == _target(restore, source)
    return source if there and back and tuple(swapped.attributes["perm"].as_ints()) == (0, 2, 1) else None


def _target(reshape: ir.Node, source: ir.Value) -> list[tuple[int | None, ...]]:
    """What a Reshape's target is joined of: numbers, or parts ``start, end`` of the shape of ``source``."""
    joined = _made_by(reshape.inputs[1], "Concat")
    return [_part(value, source) for value in joined.inputs] if joined else []


def _part(value: ir.Value | None, source: ir.Value) -> tuple[int | None, ...]:
    numbers = _numbers(value)
    if numbers is not None:
        return tuple(int(number) for number in numbers)
    cut = _made_by(value, "Slice")
    shape = _made_by(cut.inputs[0], "Shape") if cut and len(cut.inputs) == 3 else None
    if not cut or not shape or shape.inputs[0] is not source or any(a.value for a in shape.attributes.values()):
        return ()
    edges = [_numbers(edge) for edge in cut.inputs[1:]]
    if any(edge is None or edge.size != 1 for edge in edges):
        return ()
    rank = len(_LAST_TWO)
    return tuple(int(edge[0]) if edge is not None and abs(int(edge[0])) < rank else None for edge in edges)


def _masked_add(choice: ir.Node) -> tuple[ir.Node, ir.Value, ir.Value, ir.Value] | None:
    """The sum of scores and mask behind a result whose unattended rows are set to zero.

    Returns:
        The Add, the mask, what tells the rows, and the result as it is without that.
    """
    if choice.op_type != "Where" or not _is_scalar(choice.inputs[1], 0):
        return None
    unattended, _, result = choice.inputs
    product = _made_by(result, "MatMul")
    weights = _made_by(product.inputs[0], "Softmax") if product else None
    add = _made_by(weights.inputs[0], "Add") if weights else None
    attended = _counted(unattended)
    if add is None or attended is None or unattended is None or result is None:
        return None
    mask = next((value for value in add.inputs if value is not None and _hides(value, attended)), None)
    return None if mask is None else (add, mask, unattended, result)


def _counted(unattended: ir.Value | None) -> ir.Value | None:
    """The booleans of which a row has fewer than one."""
    less = _made_by(unattended, "Less")
    total = _made_by(less.inputs[0], "ReduceSum") if less and _is_scalar(less.inputs[1], 1) else None
    axes = _numbers(total.inputs[1]) if total and len(total.inputs) > 1 else None
    cast = _made_by(total.inputs[0], "Cast") if total and axes is not None and axes.tolist() == [-1] else None
    return cast.inputs[0] if cast else None


def _hides(mask: ir.Value, attended: ir.Value) -> bool:
    """Whether an additive mask is a large negative number exactly where those booleans are false."""
    above = _made_by(attended, "Greater")
    if above and above.inputs[0] is mask:
        return True
    scaled = _made_by(mask, "Mul")
    for value in scaled.inputs if scaled else ():
        cast = _made_by(value, "Cast")
        inverse = _made_by(cast.inputs[0], "Not") if cast else None
        if inverse and inverse.inputs[0] is attended:
            return True
    return False


def _made_by(value: ir.Value | None, kind: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == kind and node.domain == "" else None


def _numbers(value: ir.Value | None) -> np.ndarray | None:
    return None if value is None or value.const_value is None else value.const_value.numpy().reshape(-1)


def _is_scalar(value: ir.Value | None, number: float) -> bool:
    numbers = _numbers(value)
    return numbers is not None and numbers.size == 1 and float(numbers[0]) == number


def _stand_in(made: ir.Value, replaced: ir.Value, name: str | None = None) -> None:
    """Give a value the type, shape and name of the one it stands for."""
    made.type, made.shape = replaced.type, replaced.shape
    made.name = name or f"{replaced.name}/once"
