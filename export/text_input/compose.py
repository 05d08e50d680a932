"""Put the text part in front of a graph, or make a graph of it alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir
from tokenizers import Tokenizer

from ...poolers.spec import PoolingSpec
from ...runtime.manifest import TextTokenizerKind, TokenizerPolicy
from ..errors import ExportError
from ..graphs import AXES
from .hf_json import hf_json_ids
from .nodes import CUSTOM_DOMAIN, ML_DOMAIN, TEXT_OPSET, TextBuilder, fixed_ids
from .wordpiece import wordpiece_ids

INPUT = "text"
_IR_VERSION = 10
_VERSIONS = {CUSTOM_DOMAIN: 1, ML_DOMAIN: 4}

Nodes = Callable[[TextBuilder, ir.Value, Tokenizer, int], ir.Value]

ROUTES: dict[TextTokenizerKind, Nodes] = {"wordpiece": wordpiece_ids, "hf_json": hf_json_ids}
# `model.type` of tokenizer.json -> route.
_KINDS: dict[str, TextTokenizerKind] = {"WordPiece": "wordpiece", "BPE": "hf_json", "Unigram": "hf_json"}


@dataclass(frozen=True)
class TextPart:
    """How a bundle's texts become ids inside the graph.

    Attributes:
        kind: the route.
        tokenizer: of the bundle.
        before, behind: ids of the special tokens around a text.
        max_length: most ids, special tokens included.
    """

    kind: TextTokenizerKind
    tokenizer: Tokenizer
    before: tuple[int, ...]
    behind: tuple[int, ...]
    max_length: int


def text_part(serialised: str, policy: TokenizerPolicy, spec: PoolingSpec, opset: int) -> TextPart:
    """Plan the text part of a bundle.

    Args:
        serialised: content of ``tokenizer.json``.
        policy: the bundle's.
        spec: its head.
        opset: of the graph.

    Raises:
        ExportError: a model or tokenizer that no text part can be made for; the message says why.
    """
    tokenizer = Tokenizer.from_str(serialised)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    model = json.loads(serialised)["model"]["type"]
    reasons = (
        (opset < TEXT_OPSET, f"string operators need --opset {TEXT_OPSET} or later, got {opset}"),
        (model not in _KINDS, f"a {model} tokenizer is not known, only {', '.join(_KINDS)}"),
        (
            not spec.include_prompt,
            "this model leaves prompts out of pooling, and a text alone does not say where one ends",
        ),
        (spec.late_interaction is not None, "late interaction reads queries and documents in two ways"),
        (policy.pad_to_max_length, "this model pads every text to one length"),
    )
    for is_so, why in reasons:
        if is_so:
            raise ExportError(f"--text-input: {why}; export without it")
    plain, whole = (tokenizer.encode("a", add_special_tokens=special) for special in (False, True))
    at = next((i for i in range(len(whole.ids)) if whole.ids[i : i + len(plain.ids)] == plain.ids), None)
    if at is None or any(whole.type_ids):
        raise ExportError(
            "--text-input: the tokenizer's special tokens are not just put around a text; export without it"
        )
    return TextPart(
        _KINDS[model],
        tokenizer,
        tuple(whole.ids[:at]),
        tuple(whole.ids[at + len(plain.ids) :]),
        policy.max_length,
    )


def tokenizer_program(part: TextPart, opset: int) -> ir.Model:
    """Make the graph of the text part alone: string ``text [1]`` to int64 ``input_ids [1, sequence_length]``."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": opset, **_VERSIONS}, name="pool_export_text")
    build = TextBuilder(graph, opset)
    text, ids = _token_row(build, part)
    graph.inputs.append(text)
    graph.extend(build.nodes)
    ids.name, ids.shape, ids.type = "input_ids", ir.Shape([1, AXES[1]]), ir.TensorType(ir.DataType.INT64)
    graph.outputs.append(ids)
    return ir.Model(graph, ir_version=_IR_VERSION)


def put_text_first(program: ir.Model, part: TextPart) -> None:
    """Replace a graph's inputs by one: string ``text [1]``. Changes the program in place."""
    graph = program.graph
    build = TextBuilder(graph, graph.opset_imports[""])
    text, ids = _token_row(build, part)
    zeros = build.op("Sub", ids, ids)
    fed = {
        "input_ids": ids,
        "attention_mask": build.op("Add", zeros, build.integer(1)),
        "token_type_ids": zeros,
    }
    for value in list(graph.inputs):
        ir.convenience.replace_all_uses_with(value, fed[str(value.name)])
    graph.insert_before(graph[0], build.nodes)
    graph.inputs[:] = [text]
    for domain, version in _VERSIONS.items():
        graph.opset_imports[domain] = version


def _token_row(build: TextBuilder, part: TextPart) -> tuple[ir.Value, ir.Value]:
    """Add the nodes of the text part; return its input and its ids, int64 ``[1, sequence_length]``."""
    text = ir.Value(name=INPUT, shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.STRING))
    room = part.max_length - len(part.before) - len(part.behind)
    ids = ROUTES[part.kind](build, text, part.tokenizer, room)
    before, behind = (build.constant(fixed_ids(item)) if item else None for item in (part.before, part.behind))
    parts = [value for value in (before, ids, behind) if value is not None]
    return text, build.unsqueeze(build.op("Concat", *parts, axis=0), 0)
