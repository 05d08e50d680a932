"""Turn a plain export into a graph that obeys the contract: inputs before it, the head behind it.

A plain export is right for texts padded on the right with the model's own pad token, if it is right at all: BERT
counts positions from the left edge, a decoder's classifier looks for the pad *id*. So the graph is shown exactly
that. Every row is rolled until its first token is at position 0, and masked positions get the pad token; token
level outputs are rolled back. A row without tokens is shown as one token, because attention over nothing is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common as passes

from ...poolers.architectures import OFFSET_POSITION_FAMILIES
from ...poolers.spec import PoolingSpec
from ..errors import ExportError
from ..graphs import AXES, drop_notes, values_of
from ..source import Source
from .builder import PREFIX, Builder
from .head import Row, Steps, apply, pool
from .original import Original
from .outputs import Answer, find_answer

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class _Rolled:
    """What the nodes in front of the original graph leave for those behind it; int64 values."""

    inputs: dict[str, ir.Value]  # the contract's, as the host feeds them
    mask: ir.Value  # [batch_size, sequence_length], first token first
    position: ir.Value  # [sequence_length], from 0
    back: ir.Value  # [batch_size, sequence_length, 1]: where each position was rolled to


def adopt_graph(original: Original, source: Source, spec: PoolingSpec, pad_id: int) -> ir.Model:
    """Compose the contract's graph; the original's program is changed in place.

    Args:
        original: the graph as read.
        source: the checkpoint's files.
        spec: its resolved head.
        pad_id: token that masked positions are given.

    Raises:
        ExportError: the graph has no output that the head can follow.
        SourceError: weights of a head module are missing.
    """
    program, graph = original.program, original.program.graph
    answer = find_answer(original, source, spec)
    before = Builder(graph, original.opset, "inputs")
    rolled = _prepare(before, graph, source, pad_id)
    behind = Builder(graph, original.opset, "head")
    outputs = _distinct(behind, _outputs(behind, source, spec, answer, rolled))
    graph.insert_before(graph[0], before.nodes)
    graph.extend(behind.nodes)
    graph.inputs[:] = list(rolled.inputs.values())
    graph.outputs[:] = list(outputs.values())
    _name(graph, rolled.inputs, outputs, spec)
    passes.RemoveUnusedNodesPass()(program)
    passes.RemoveUnusedFunctionsPass()(program)  # type: ignore[no-untyped-call]
    passes.RemoveUnusedOpsetsPass()(program)
    drop_notes(program)
    program.metadata_props.clear()
    return program


def _prepare(builder: Builder, graph: ir.Graph, source: Source, pad_id: int) -> _Rolled:
    given = {str(value.name): value for value in graph.inputs}
    inputs = {name: _input(name) for name in _INPUTS if name in given}
    mask = inputs["attention_mask"]
    # int32: ArgMax has no int64 kernel in onnxruntime (onnxruntime#10068).
    first = builder.op("ArgMax", builder.cast(mask, ir.DataType.INT32), axis=1, keepdims=1)
    length = builder.op("Gather", builder.op("Shape", mask), builder.integer(1), axis=0)
    position = builder.op("Range", builder.integer(0), length, builder.integer(1))
    index = builder.op("Mod", builder.op("Add", position, first), length)
    back = builder.op("Mod", builder.op("Sub", builder.op("Add", position, length), first), length)
    rows = {name: builder.op("GatherElements", value, index, axis=1) for name, value in inputs.items()}
    token = builder.cast(rows["attention_mask"], ir.DataType.BOOL)
    shown = dict(rows)
    shown["input_ids"] = builder.op("Where", token, rows["input_ids"], builder.integer(pad_id))
    is_first = builder.op("Equal", position, builder.integer(0))
    shown["attention_mask"] = builder.op("Where", is_first, builder.integer(1), rows["attention_mask"])
    if "position_ids" in given:
        shown["position_ids"] = _positions(builder, source, shown)
    for name, value in given.items():
        kind = value.dtype or ir.DataType.INT64
        fed = shown[name] if kind == ir.DataType.INT64 else builder.cast(shown[name], kind)
        value.replace_all_uses_with(fed, replace_graph_outputs=True)
        value.name = f"{PREFIX}original/{name}"
    return _Rolled(inputs, rows["attention_mask"], position, builder.unsqueeze(back, 2))


def _input(name: str) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(AXES), type=ir.TensorType(ir.DataType.INT64))


def _positions(builder: Builder, source: Source, shown: dict[str, ir.Value]) -> ir.Value:
    """Count real tokens: from 0, or in RoBERTa's kin from behind the pad id, which itself is not counted."""
    config, mask, axis = source.files.config, shown["attention_mask"], builder.integer(1)
    absolute = config.get("position_embedding_type", "absolute") == "absolute"
    if source.files.model_type not in OFFSET_POSITION_FAMILIES or not absolute:
        before = builder.op("Sub", builder.op("CumSum", mask, axis), builder.integer(1))
        return builder.op("Max", before, builder.integer(0))
    pad = config.get("pad_token_id")
    if not isinstance(pad, int):
        raise ExportError("config.json has no pad_token_id, from which this family counts its positions")
    padding = builder.cast(builder.op("Equal", shown["input_ids"], builder.integer(pad)), ir.DataType.INT64)
    counted = builder.op("Mul", mask, builder.op("Sub", builder.integer(1), padding))
    return builder.op("Add", builder.op("Mul", builder.op("CumSum", counted, axis), counted), builder.integer(pad))


def _outputs(
    builder: Builder, source: Source, spec: PoolingSpec, answer: Answer, rolled: _Rolled
) -> dict[str, ir.Value]:
    value = answer.value
    if value.dtype != ir.DataType.FLOAT:
        value = builder.cast(value, ir.DataType.FLOAT)
    if answer.kind == "text":
        return _classified(builder, spec, value)
    tokens = builder.op("GatherND", value, rolled.back, batch_dims=1)
    original_mask = builder.unsqueeze(builder.cast(rolled.inputs["attention_mask"], ir.DataType.BOOL), 2)
    if spec.convert == "reward":
        return {"rewards": builder.op("Where", original_mask, tokens, builder.number(0.0))}
    if spec.convert == "classify":
        return _classified(builder, spec, tokens)
    steps = Steps(builder, source, spec.steps)
    if spec.is_token_level:
        vectors = _activate(builder, spec, steps.apply(tokens))
        cleared = builder.op("Where", original_mask, vectors, builder.number(0.0))
        return {"token_embeddings": cleared, "last_hidden_state": tokens}
    raw = steps.apply(pool(builder, Row(builder, value, rolled.mask, rolled.position), spec.pooling))
    outputs = {"sentence_embedding": _activate(builder, spec, raw), "last_hidden_state": tokens}
    if spec.steps and len(spec.pooling) == 1:
        outputs["token_embeddings"] = steps.apply(tokens)
    if spec.use_activation:
        outputs["unnormalized_embedding"] = raw
    return outputs


def _activate(builder: Builder, spec: PoolingSpec, vectors: ir.Value) -> ir.Value:
    return apply(builder, "normalize", vectors) if spec.use_activation else vectors


def _classified(builder: Builder, spec: PoolingSpec, logits: ir.Value) -> dict[str, ir.Value]:
    calibrated = logits
    if spec.logit_mean is not None:
        calibrated = builder.op("Sub", calibrated, builder.number(spec.logit_mean))
    if spec.logit_sigma is not None:
        calibrated = builder.op("Div", calibrated, builder.number(spec.logit_sigma))
    return {"logits": logits, "probs": apply(builder, spec.activation, calibrated)}


def _distinct(builder: Builder, outputs: dict[str, ir.Value]) -> dict[str, ir.Value]:
    """Give outputs that are the same value nodes of their own: a graph may not name one value twice."""
    seen: set[int] = set()
    for name, value in outputs.items():
        if id(value) in seen:
            outputs[name] = builder.op("Identity", value)
        seen.add(id(value))
    return outputs


def _name(graph: ir.Graph, inputs: dict[str, ir.Value], outputs: dict[str, ir.Value], spec: PoolingSpec) -> None:
    """Give inputs and outputs their contract names, and values of the original that have such a name another one."""
    own = {id(value) for value in (*inputs.values(), *outputs.values())}
    for value in values_of(graph):
        if id(value) not in own and (value.name in inputs or value.name in outputs):
            value.name = f"{PREFIX}original/{value.name}"
    widths = {"last_hidden_state": spec.hidden_size, "rewards": spec.num_labels or spec.hidden_size}
    for name, value in outputs.items():
        width = widths.get(name, spec.num_labels or spec.embedding_size or spec.hidden_size)
        per_token = spec.is_token_level or name in ("last_hidden_state", "token_embeddings")
        value.name, value.dtype = name, ir.DataType.FLOAT
        value.shape = ir.Shape((*AXES, width) if per_token else (AXES[0], width))
