"""Traced models before any pass, and how a graph is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from pool_export.export import trace as tracing


@pytest.fixture(scope="package")
def untouched(adapted: Callable[..., Any], tiny_folder: Callable[..., Path]) -> Callable[..., ir.Model]:
    """Return `untouched(family, head="base")`: a tiny model as the tracer leaves it."""
    made: dict[tuple[str, str], ir.Model] = {}

    def trace(family: str, head: str = "base") -> ir.Model:
        if (family, head) not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tracing, "apply_passes", lambda program: None)
                module = adapted(tiny_folder(family, head)).module
                made[family, head] = tracing.trace(module, max_length=64, opset=20)
        return made[family, head].clone()

    return trace


@pytest.fixture(scope="package")
def answers() -> Callable[[ir.Model, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return `answers(program, feeds)`: every output, by onnxruntime."""

    def run(program: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = ir.to_proto(program).SerializeToString()
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        names = [item.name for item in session.get_outputs()]
        return dict(
            zip(names, session.run(names, {item.name: feeds[item.name] for item in session.get_inputs()}), strict=True)
        )

    return run


@pytest.fixture(scope="package")
def padded_batch() -> dict[str, np.ndarray]:
    """Texts padded on the right (far beyond a window), on the left, a whole one, and one of padding only."""
    mask = np.zeros((5, 40), np.int64)
    mask[0, :3] = mask[1, -5:] = mask[2] = mask[3, :20] = 1
    ids = np.random.default_rng(0).integers(5, 90, mask.shape) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
