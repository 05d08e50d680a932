"""What an ``openvino.Model`` is changed to, in place, before it is compiled in bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_NORM = "MVN"  # what OpenVINO makes of a LayerNormalization, with a Multiply and an Add after it

_HEADS_FIRST, _HEADS_FIRST_TURNED = (0, 2, 1, 3), (0, 2, 3, 1)


def turn_keys_in_the_product(model: Any) -> int:
    """Let the product of queries and keys transpose the keys, which it repacks for its tiles anyway.

    The canonical graph has them transposed beforehand, which is what onnxruntime multiplies fastest. Exact.

    Returns:
        How many products were changed.
    """
    from openvino import opset13

    changed = 0
    for product in _nodes(model, "MatMul"):
        keys = product.input_value(1).get_node()
        scale = None
        if keys.get_type_name() == "Multiply" and keys.input_value(1).get_node().get_type_name() == "Constant":
            scale, keys = keys.input_value(1), keys.input_value(0).get_node()
        turned = any(product.get_attributes()[name] for name in ("transpose_a", "transpose_b"))
        if turned or _permutation(keys) != _HEADS_FIRST_TURNED or (scale is not None and scale.get_shape()):
            continue
        plain = opset13.transpose(keys.input_value(0), opset13.constant(list(_HEADS_FIRST)))
        if scale is not None:
            plain = opset13.multiply(plain, scale)
        other = opset13.matmul(product.input_value(0), plain, transpose_a=False, transpose_b=True)
        other.set_friendly_name(product.get_friendly_name())
        product.output(0).replace(other.output(0))
        changed += 1
    return changed


def round_between_norms(model: Any) -> bool:
    """Let the residual of a BERT be bfloat16 between its layers, as it is in PyTorch's bfloat16.

    OpenVINO rounds what leads to a matrix product, and leaves in float32 whatever reaches an output past the products.
    A residual does, around every product, so each layer adds and normalises in float32 and converts twice. Where the
    last sum reads it through a product with the identity, which changes nothing, it leads to a product like the rest.
    What comes after that sum stays in float32: the last norm, pooling, the length of the vector.

    A sum that only its LayerNorm reads is as large as that norm's input, whatever the depth, so rounding it loses no
    more than rounding the products did. A residual that goes on beside its norms (ModernBERT, decoders) grows from
    layer to layer, and is left alone.

    Returns:
        Whether the graph is of that kind and was changed. A classifier's is not: its head is a product.
    """
    from openvino import opset13

    norms = _nodes(model, _NORM)
    sums = [norm.input_value(0) for norm in norms]
    if not norms or any(_kind(total) != "Add" or len(total.get_target_inputs()) != 1 for total in sums):
        return False
    if _leads_to_product(norms[-1]):
        return False
    last = sums[-1].get_node()
    skips = [port for port in (0, 1) if not _is_linear(last.input_value(port))]
    if len(skips) != 1 or not (width := last.input_value(skips[0]).get_partial_shape()[-1]).is_static:
        return False
    identity = np.eye(width.get_length(), dtype=np.float32)
    through = opset13.matmul(last.input_value(skips[0]), opset13.constant(identity), False, False)
    last.input(skips[0]).replace_source_output(through.output(0))
    return True


def _is_linear(value: Any) -> bool:
    """Whether a value is a product, with its bias or without."""
    products = [value, *(item.get_source_output() for item in value.get_node().inputs() if _kind(value) == "Add")]
    return any(_kind(one) == "MatMul" for one in products)


def _leads_to_product(node: Any) -> bool:
    """Whether a matrix product reads the value of a node, sooner or later."""
    waiting, seen = [node], set()
    while waiting:
        for reader in [item.get_node() for output in waiting.pop().outputs() for item in output.get_target_inputs()]:
            if reader.get_type_name() == "MatMul":
                return True
            if (name := reader.get_friendly_name()) not in seen:
                seen.add(name)
                waiting.append(reader)
    return False


def _kind(value: Any) -> str:
    """What computes a value."""
    return str(value.get_node().get_type_name())


def _nodes(model: Any, kind: str) -> list[Any]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == kind]


def _permutation(node: Any) -> Sequence[int] | None:
    """The order of a Transpose by a constant."""
    if node.get_type_name() != "Transpose" or node.input_value(1).get_node().get_type_name() != "Constant":
        return None
    return tuple(int(axis) for axis in node.input_value(1).get_node().get_data())
