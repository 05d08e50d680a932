"""Trace an adapted model into an onnx-ir graph that obeys the graph contract."""

from __future__ import annotations

import re
from typing import Any, cast

import onnx_ir as ir
import torch
from torch.export import Dim
from transformers.exporters import OnnxConfig, OnnxExporter

from .adapters import AdaptedModel
from .errors import ExportError
from .graphs import AXES, annotate, drop_notes, values_of
from .passes import apply_passes
from .quiet import quiet

__all__ = ["AXES", "annotate", "trace"]

_MAX_BATCH = 4096

# Batch and length differ from each other and from 0 and 1, which torch.export would specialise.
_SAMPLE_BATCH, _SAMPLE_LENGTH = 3, 11


def trace(model: AdaptedModel, *, max_length: int, opset: int) -> ir.Model:
    """Trace the model.

    Args:
        model: what to trace.
        max_length: upper bound of the length axis.
        opset: ONNX opset of the result.

    Returns:
        A graph with named axes, inputs and outputs in contract order.

    Raises:
        ExportError: the model cannot be traced, or the trace broke the contract.
    """
    sample = _sample(model, max_length)
    batch, length = Dim(AXES[0], min=1, max=_MAX_BATCH), Dim(AXES[1], min=1, max=max_length)
    shapes = {name: {0: batch, 1: length} for name in sample}
    return _trace(model, sample, shapes, AXES, opset, type(model.backbone).__name__)


def trace_images(model: torch.nn.Module, *, height: int, width: int, opset: int, shown: str) -> ir.Model:
    """Trace an image tower: ``pixel_values`` float32 ``[batch_size, 3, height, width]`` in, one row an image out.

    Raises:
        ExportError: as ``trace``.
    """
    sample = {"pixel_values": torch.linspace(-1, 1, _SAMPLE_BATCH * 3 * height * width).reshape(-1, 3, height, width)}
    shapes = {"pixel_values": {0: Dim(AXES[0], min=1, max=_MAX_BATCH)}}
    return _trace(model, sample, shapes, AXES[:1], opset, shown)


def _trace(
    model: torch.nn.Module,
    sample: dict[str, torch.Tensor],
    shapes: dict[str, dict[int, Any]],
    axes: tuple[str, ...],
    opset: int,
    shown: str,
) -> ir.Model:
    config = OnnxConfig(
        dynamic_shapes=shapes,
        opset_version=opset,
        ort_fusions=None,
        # Length guards of rotary caches and sliding windows become run-time asserts, not refusals.
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    with quiet(), torch.no_grad():
        names = list(model(**sample))
        try:
            # Typed for its own classes; any module with a flat signature traces.
            exported = OnnxExporter().export(cast(Any, model), dict(sample), config)
        except Exception as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ExportError(f"{shown} cannot be traced: {reason}") from error
    program: ir.Model = exported.program
    _name_axes(program, axes)
    drop_notes(program)
    apply_passes(program)
    _check_contract(program, list(sample), names)
    return program


def _sample(model: AdaptedModel, max_length: int) -> dict[str, torch.Tensor]:
    length = min(_SAMPLE_LENGTH, max_length)
    if length < 2:
        raise ExportError(f"max_model_len must be at least 2 to trace a model, got {max_length}")
    shape = (_SAMPLE_BATCH, length)
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = torch.arange(shape[0] * shape[1]).reshape(shape) % max(2, vocabulary - 8) + min(4, vocabulary - 2)
    mask = torch.ones(shape, dtype=torch.int64)
    mask[1, -1] = 0
    pooled = mask.clone()
    pooled[:, 0] = 0
    types = torch.zeros(shape, dtype=torch.int64)
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "pooling_mask": pooled}
    return {name: values[name] for name in model.input_names}


def _name_axes(program: ir.Model, axes: tuple[str, ...]) -> None:
    """Give the leading dynamic axes their contract names everywhere (torch.export calls them s18, s41 …)."""
    shape = program.graph.inputs[0].shape
    if shape is None or len(shape) < len(axes):
        raise ExportError(f"the traced graph lost the shape of its first input: {shape}")
    names = {str(dim.value): axis for dim, axis in zip(shape, axes, strict=False) if isinstance(dim, ir.SymbolicDim)}
    if set(names.values()) != set(axes):
        raise ExportError(f"an axis became fixed while tracing: {shape}; expected {', '.join(axes)} to stay dynamic")
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    for value in values_of(program.graph):
        if value.shape is None:
            continue
        for index, dim in enumerate(value.shape):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                value.shape[index] = pattern.sub(lambda match: names[match.group(1)], str(dim.value))
    # A mask can be traced with a batch symbol of its own; all inputs share the axes by contract.
    for value in program.graph.inputs:
        value.shape = ir.Shape((*axes, *(value.shape or ())[len(axes) :]))


def _check_contract(program: ir.Model, inputs: list[str], outputs: list[str]) -> None:
    found = [value.name for value in program.graph.inputs], [value.name for value in program.graph.outputs]
    if found != (inputs, outputs):
        raise ExportError(f"the traced graph has inputs and outputs {found}, expected {(inputs, outputs)}")
    for value in program.graph.outputs:
        if value.dtype != ir.DataType.FLOAT:
            raise ExportError(f"output {value.name} is {value.dtype}, expected float32")
        if value.shape is None or value.shape[0] != AXES[0]:
            raise ExportError(f"output {value.name} has shape {value.shape}, expected {AXES[0]} first")
    foreign = {node.domain for node in ir.traversal.RecursiveGraphIterator(program.graph)} - {""}
    if foreign:
        raise ExportError(f"the graph uses operators outside the ONNX standard: {sorted(foreign)}")
