"""The pooled row's own work: answers stay, and nothing is left of the other rows behind the last keys and values."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pool_export.export.passes import applied_passes, apply_passes

HEADS = [
    ("bert", "sequence_1"),  # CLS
    ("modernbert", "sequence_3"),  # CLS, rotary positions, queries, keys and values of one product
    ("roberta", "sequence_1"),
    ("deberta-v2", "sequence_3"),  # attention with positions of its own, which no rule goes through
    ("qwen3", "sequence_1"),  # LAST, causal, rotary positions, norms of queries and keys
    ("gemma", "sequence_3"),
]


def kinds(program: ir.Model) -> list[str]:
    return [node.op_type for node in program.graph]


def rows_of(program: ir.Model, kind: str) -> list[object]:
    """Sizes of the axis before the last one, of what the nodes of a kind answer."""
    shapes = [node.outputs[0].shape for node in program.graph if node.op_type == kind]
    return [
        shape[-2] if isinstance(shape[-2], int) else shape[-2].value for shape in shapes if shape and len(shape) > 2
    ]


@pytest.mark.parametrize(("family", "head"), HEADS)
def test_no_answer_changes(untouched, answers, padded_batch, family: str, head: str):
    before, after = untouched(family, head), untouched(family, head)
    apply_passes(after)
    found, want = answers(after, padded_batch), answers(before, padded_batch)
    assert list(found) == list(want) == ["logits", "probs"]
    real = padded_batch["attention_mask"].any(axis=1)
    for name, value in found.items():
        assert np.isfinite(value).all()
        np.testing.assert_allclose(value[real], want[name][real], rtol=0, atol=2e-6)
    assert applied_passes(after)["pick_rows_first"] > 10


@pytest.mark.parametrize(("family", "head"), [("bert", "sequence_1"), ("qwen3", "sequence_1")])
def test_the_last_layer_has_rows_for_keys_and_values_only(untouched, family: str, head: str):
    program = untouched(family, head)
    assert set(rows_of(program, "Softmax")) == {"sequence_length"}
    whole = rows_of(program, "MatMul").count("sequence_length")
    apply_passes(program)
    assert rows_of(program, "Softmax") == ["sequence_length", 1]
    # Of two layers alike, all but the two products that keys and values are of.
    assert rows_of(program, "MatMul").count("sequence_length") == whole / 2 + 2


@pytest.mark.parametrize(("family", "head"), [("bert", "base"), ("bert", "token_5"), ("qwen3", "base")])
def test_answers_for_every_token_keep_every_row(untouched, family: str, head: str):
    program = untouched(family, head)
    apply_passes(program)
    assert "pick_rows_first" not in applied_passes(program)


def test_a_value_that_something_else_reads_is_computed_whole(untouched):
    """The states of the last layer as an output: what leads to them stays, and the choice behind them too."""
    program = untouched("bert", "sequence_1")
    pick = next(node for node in program.graph if node.op_type == "GatherElements")
    program.graph.outputs.append(pick.inputs[0])
    apply_passes(program)
    assert "pick_rows_first" not in applied_passes(program)
