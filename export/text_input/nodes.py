"""Nodes of the text part: string constants, and the operators of onnxruntime-extensions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from ..adopt.builder import PREFIX, Builder

CUSTOM_DOMAIN = "ai.onnx.contrib"
ML_DOMAIN = "ai.onnx.ml"
# StringSplit and StringConcat came with it.
TEXT_OPSET = 20


class TextBuilder(Builder):
    """Collects the nodes between the text and the token ids."""

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        super().__init__(graph, opset, "text")

    def ops(self, kind: str, *inputs: ir.Value, count: int, domain: str = "", **attributes: Any) -> list[ir.Value]:
        """Add one node with several outputs."""
        name = f"{PREFIX}{self.part}/{kind}_{len(self.nodes)}"
        node = ir.node(kind, inputs, attributes, domain=domain, num_outputs=count, name=name)
        for index, value in enumerate(node.outputs):
            value.name = f"{name}/output_{index}"
        self.nodes.append(node)
        return list(node.outputs)

    def custom(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Add one operator of onnxruntime-extensions with one output."""
        return self.ops(kind, *inputs, count=1, domain=CUSTOM_DOMAIN, **attributes)[0]

    def words(self, *texts: str) -> ir.Value:
        """A constant of strings, one axis. A node, because strings cannot be external data, as initializers may be."""
        return self.op("Constant", value_strings=texts)

    def replace(self, text: ir.Value, pattern: str, rewrite: str) -> ir.Value:
        r"""Replace every match of a pattern (RE2's syntax; ``\1`` in the rewrite is the first group)."""
        return self.custom("StringRegexReplace", text, self.words(pattern), self.words(rewrite), global_replace=1)

    def join(self, texts: ir.Value, axis: int = 0) -> ir.Value:
        """Join strings along an axis, nothing between them."""
        return self.custom("StringJoin", texts, self.words(""), self.integer([axis]))

    def labels(self, texts: ir.Value, ids: dict[str, int], default: int) -> ir.Value:
        """Look strings up; int64."""
        return self.ops(
            "LabelEncoder",
            texts,
            count=1,
            domain=ML_DOMAIN,
            keys_strings=list(ids),
            values_int64s=list(ids.values()),
            default_int64=default,
        )[0]

    def part_of(self, values: ir.Value, start: int, stop: int) -> ir.Value:
        """Slice along the first axis."""
        return self.op("Slice", values, self.integer([start]), self.integer([stop]))


def character_class(characters: Collection[str]) -> str:
    """Write characters as a class of RE2's syntax, by their numbers and in ranges."""
    ranges = (f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in _ranges(sorted(map(ord, characters))))
    return f"[{''.join(ranges)}]"


def _ranges(codes: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for index in range(1, len(codes) + 1):
        if index == len(codes) or codes[index] != codes[index - 1] + 1:
            yield codes[start], codes[index - 1]
            start = index


def literally(text: str) -> str:
    """Write a text as a pattern that matches just it."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


def fixed_ids(ids: tuple[int, ...]) -> np.ndarray:
    """Token ids as int64."""
    return np.array(ids, dtype=np.int64)
