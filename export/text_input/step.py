"""The export's step: check the tokenizer first, then write ``onnx/model_text.onnx`` beside the graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx_ir as ir
from transformers import PreTrainedTokenizerBase

from ...poolers.spec import PoolingSpec
from ...runtime.bundle import open_bundle
from ...runtime.golden import read_golden
from ...runtime.manifest import Manifest, TextGraph, TokenizerPolicy
from ..quiet import quiet
from ..write import write_graph
from .check import check_tokens, check_vectors
from .compose import TextPart, put_text_first, text_part, tokenizer_program
from .nodes import CUSTOM_DOMAIN

NAME = "model_text"


def checked_text_part(
    tokenizer: PreTrainedTokenizerBase, policy: TokenizerPolicy, spec: PoolingSpec, opset: int
) -> tuple[TextPart, dict[str, Any]]:
    """Plan the text part and hold it to the tokenizer, before anything is written.

    Returns:
        The part, and the report of the comparison.

    Raises:
        ExportError: no text part can be made for this model.
        ParityError: its ids are not the tokenizer's.
        MissingExtraError: onnxruntime-extensions is not installed.
    """
    part = text_part(tokenizer.backend_tokenizer.to_str(), policy, spec, opset)
    return part, check_tokens(tokenizer, part, tokenizer_program(part, opset))


def add_text_graph(folder: Path, manifest: Manifest, part: TextPart, report: dict[str, Any]) -> Manifest:
    """Write the text graph and replay the golden texts through it.

    Raises:
        ParityError: a vector that is not the reference's.
    """
    graph = manifest.graphs["fp32"]
    with quiet():
        program = ir.load(folder / graph.files[0].path)
        ir.external_data.load_to_model(program)
    put_text_first(program, part)
    info = write_graph(program, folder, NAME)
    names = [output.name for output in graph.outputs]
    report = {**report, **check_vectors(folder / info.files[0].path, read_golden(open_bundle(folder)), names)}
    custom = [node.op_type for node in program.graph if node.domain == CUSTOM_DOMAIN]
    operators = {f"{CUSTOM_DOMAIN}.{kind}": custom.count(kind) for kind in sorted(set(custom))}
    info = dataclasses.replace(info, operators=operators)
    return dataclasses.replace(manifest, text=TextGraph(graph=info, tokenizer=part.kind, check=report))
