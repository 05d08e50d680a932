"""Each pass on traced attention: where it finds its pattern, and that no answer changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from pool_export.export.passes import APPLIED, applied_passes, apply_passes
from pool_export.export.passes.attention import guard_masks, transpose_keys_once
from pool_export.runtime.bundle import open_bundle

# A window (ModernBERT), grouped keys (Qwen 3, Gemma), and plain encoders.
FAMILIES = ("bert", "modernbert", "qwen3", "gemma", "distilbert")


@pytest.mark.parametrize("family", FAMILIES)
def test_no_answer_changes_and_what_is_padding_stays_finite(untouched, answers, padded_batch, family: str):
    before, after, feeds = untouched(family), untouched(family), padded_batch
    apply_passes(after)
    found, want = answers(after, feeds), answers(before, feeds)
    assert list(found) == list(want)
    real = feeds["attention_mask"] == 1
    for name, value in found.items():
        assert np.isfinite(value).all()
        kept = real if value.ndim == 3 else real.any(axis=1)
        np.testing.assert_allclose(value[kept], want[name][kept], rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_rewritten(untouched, family: str):
    program = untouched(family)
    layers = sum(node.op_type == "Softmax" for node in program.graph)
    assert layers >= 2
    apply_passes(program)
    assert applied_passes(program) == {"transpose_keys_once": layers, "guard_masks": layers}
    # A guard for each kind of mask that a model has, and not one a layer.
    kinds = 2 if family == "modernbert" else 1
    guards = [node for node in program.graph if (node.outputs[0].name or "").endswith("/guarded")]
    assert len(guards) == kinds


def test_attention_that_is_written_otherwise_is_left_alone(untouched):
    """MPNet adds its positions to scores of its own."""
    program = untouched("mpnet")
    apply_passes(program)
    assert applied_passes(program) == {}


def test_a_second_time_finds_nothing(untouched):
    program = untouched("bert")
    apply_passes(program)
    del program.metadata_props[APPLIED]
    apply_passes(program)
    assert applied_passes(program) == {}


def test_a_bundle_says_what_was_rewritten(tiny_bundle: Callable[..., Path]):
    assert open_bundle(tiny_bundle("bert")).manifest.graphs["fp32"].passes == {
        "transpose_keys_once": 2,
        "guard_masks": 2,
    }


def test_another_swap_of_axes_is_left_alone(untouched):
    program = untouched("bert")
    swaps = [node for node in program.graph if node.op_type == "Transpose" and len(node.attributes["perm"].value) == 3]
    for swap in swaps:
        swap.attributes["perm"] = ir.AttrInt64s("perm", [0, 1, 2])
    assert len(swaps) == 2
    assert transpose_keys_once(program.graph) == 0


@pytest.mark.parametrize("kind", ["Less", "Not"])
def test_a_choice_by_anything_else_than_the_mask_is_left_alone(untouched, kind: str):
    """Rows are told by another comparison, or the mask hides other places than those that are counted."""
    program = untouched("bert")
    node = next(node for node in program.graph if node.op_type == kind)
    other = ir.node("Greater" if kind == "Less" else "Identity", list(node.inputs))
    other.outputs[0].type, other.outputs[0].shape, other.outputs[0].name = (
        node.outputs[0].type,
        node.outputs[0].shape,
        "x",
    )
    program.graph.insert_before(node, other)
    ir.convenience.replace_all_uses_with(node.outputs[0], other.outputs[0])
    assert guard_masks(program.graph) == 0
