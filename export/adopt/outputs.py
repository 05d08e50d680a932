"""Which output of the original graph the head follows, and whether the two belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from ...poolers.spec import PoolingSpec
from ..errors import ExportError
from ..source import Source
from .original import Original

# Outputs that hold one vector a token, best first: optimum, sentence-transformers' own export, others.
STATE_OUTPUTS = ("last_hidden_state", "token_embeddings", "hidden_states")


@dataclass(frozen=True)
class Answer:
    """An output of the original graph: one row a token, or one a text."""

    value: ir.Value
    kind: Literal["token", "text"]

    @property
    def name(self) -> str:
        """Its name in the original file."""
        return str(self.value.name)


def find_answer(original: Original, source: Source, spec: PoolingSpec) -> Answer:
    """Choose the output.

    Raises:
        ExportError: the graph was exported for another task than the files and options ask for.
    """
    outputs = {str(value.name): value for value in original.program.graph.outputs}
    if spec.num_labels is None:
        found = _states(original, outputs, source, spec)
        _check(original, found.value, 3, spec.hidden_size)
        return found
    return _logits(original, outputs, source, spec)


def _states(original: Original, outputs: dict[str, ir.Value], source: Source, spec: PoolingSpec) -> Answer:
    for name in STATE_OUTPUTS:
        if name in outputs:
            return Answer(outputs[name], "token")
    why = "; export it again with --task feature-extraction"
    if "logits" in outputs:
        why = f": it was exported with a head, and {spec.convert} needs the states before it" + why
    elif "sentence_embedding" in outputs:
        why = ": it pools inside, and the tokens' states cannot be had from it" + why
    raise ExportError(
        f"{original.path} answers {', '.join(outputs)}, expected one of {', '.join(STATE_OUTPUTS)} "
        f"for convert={spec.convert} ({source.files.architecture}){why}"
    )


def _logits(original: Original, outputs: dict[str, ir.Value], source: Source, spec: PoolingSpec) -> Answer:
    architecture = source.files.architecture
    if "logits" not in outputs:
        raise ExportError(
            f"{original.path} answers {', '.join(outputs)}, expected logits for convert={spec.convert} "
            f"({architecture}): it was exported without the classification head; export it again with --task "
            "text-classification, or pass --convert embed"
        )
    per_token = architecture.endswith("ForTokenClassification")
    if spec.is_token_level != per_token:
        raise ExportError(
            f"{original.path} answers one row of logits for each {'token' if per_token else 'text'} ({architecture}), "
            f"and pooling {spec.pooling[0]} needs one for each {'text' if per_token else 'token'}; pooling and "
            "classifier are inside the graph and cannot be changed"
        )
    if spec.sources.get("pooling") == "user" and not per_token:
        raise ExportError(
            f"pooling {spec.pooling[0]} was asked for, but {original.path} pools inside and answers logits; "
            "drop it, or export the checkpoint itself: pool-export MODEL"
        )
    _check(original, outputs["logits"], 3 if per_token else 2, spec.num_labels or 0)
    return Answer(outputs["logits"], "token" if per_token else "text")


def _check(original: Original, value: ir.Value, rank: int, width: int) -> None:
    """Compare what the graph says of its output with what the files say; an unknown shape is judged by the gate."""
    if value.shape is None:
        return
    last = value.shape[-1] if len(value.shape) else None
    if len(value.shape) != rank or (isinstance(last, int) and last != width):
        axes = ["batch_size", "sequence_length", width] if rank == 3 else ["batch_size", width]
        found = [str(size) for size in value.shape]
        raise ExportError(f"{original.path}: {value.name} has shape {found}, config.json makes it {axes}")
