"""Rewrites of a traced graph that change no answer and save work on every host, each small and counted by name."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from .attention import guard_masks, transpose_keys_once
from .rows import pick_rows_first

# Of a graph's ``metadata_props``: what was applied, as ``name=count`` joined by commas.
APPLIED = "pool_export.passes"

PASSES: dict[str, Callable[[ir.Graph], int]] = {
    "transpose_keys_once": transpose_keys_once,
    "guard_masks": guard_masks,
    "pick_rows_first": pick_rows_first,
}


def apply_passes(program: ir.Model) -> None:
    """Rewrite a traced graph in place, and note in its metadata how often each pass found its pattern."""
    counts = {}
    for name, rewrite in PASSES.items():
        counts[name] = rewrite(program.graph)
        # The next one goes by shapes, and by who reads a value.
        RemoveUnusedNodesPass()(program)
        ShapeInferencePass()(program)
    if any(counts.values()):
        program.metadata_props[APPLIED] = ",".join(f"{name}={count}" for name, count in counts.items() if count)


def applied_passes(program: ir.Model) -> dict[str, int]:
    """Read what ``apply_passes`` noted."""
    pairs = (item.partition("=") for item in program.metadata_props.get(APPLIED, "").split(",") if item)
    return {name: int(count) for name, _, count in pairs}
