"""`pool-export adopt FOLDER`: what it says, and how it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from pool_export.runtime.bundle import open_bundle

from .conftest import Result

Call = Callable[..., Result]


@pytest.fixture
def folder(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """An ONNX export of nothing but a table of vectors, with BERT's files."""
    target = tmp_path / "table"
    shutil.copytree(tiny_folder("bert", layers=1), target, ignore=shutil.ignore_patterns("model.safetensors"))
    (target / "onnx").mkdir()
    rows = "int64[batch, length] input_ids, int64[batch, length] attention_mask"
    body = "last_hidden_state = Gather (table, input_ids)"
    header = '<ir_version: 8, opset_import: ["" : 18]>'
    model = onnx.parser.parse_model(
        f"{header} toy ({rows}) => (float[batch, length, 32] last_hidden_state) {{ {body} }}"
    )
    table = np.random.default_rng(0).normal(size=(2000, 32)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    onnx.save(model, target / "onnx/model.onnx")
    return target


def test_a_user_sees_the_steps_and_what_it_was_compared_with(folder: Path, process: Call, tmp_path: Path) -> None:
    result = process("adopt", folder)
    assert result.code == 0, result.err
    assert result.err.splitlines() == [
        f"Reading {folder} …", "Adding the head …", "Writing the bundle …", "Verifying against the original graph …",
    ]  # fmt: skip
    bundle = tmp_path / "table-bundle"
    verdict = result.out.splitlines()[-1]
    assert verdict.startswith(f"{bundle}: embed bundle, agrees with the original ONNX graph (not torch) on ")
    assert open_bundle(bundle).verify_hashes() == ["onnx/model.onnx"]


def test_json_and_notes_about_siblings(folder: Path, call: Call, tmp_path: Path) -> None:
    shutil.copyfile(folder / "onnx/model.onnx", folder / "onnx/model_fp16.onnx")
    left_out = "model_fp16.onnx is left out: by its name it is fp16, its weights are fp32"
    result = call("adopt", folder, "-o", tmp_path / "b", "--json", "--pooler-config", '{"pooling_type": "MEAN"}')
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["source"]["adopted_from"] == "onnx/model.onnx"
    assert found["pooling"]["pooling"] == ["MEAN"]
    assert found["notes"] == [left_out]
    again = call("adopt", folder, "-o", tmp_path / "b", "--force")
    assert again.err.splitlines()[-1] == left_out


def test_inspect_and_verify_take_the_bundle(folder: Path, call: Call, tmp_path: Path) -> None:
    assert call("adopt", folder, "-o", tmp_path / "b").code == 0
    shown = call("inspect", tmp_path / "b").out
    assert f"{tmp_path / 'b'}: adopted from onnx/model.onnx of table (BertModel)" in shown
    assert "Parity with the original ONNX graph (not torch)" in shown
    assert "agrees with" in call("verify", tmp_path / "b").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--graph", "onnx/other.onnx"], "has no onnx/other.onnx; it holds onnx/model.onnx"),
        (["--max-model-len", "1000"], "max_model_len must be in [1, 128] for this model, got 1000"),
        (["--convert", "classify"], "answers last_hidden_state, expected logits for convert=classify"),
        (["--pooler-config", '{"pooling_type": "MIDDLE"}'], "unknown pooling type 'MIDDLE'"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    words: list[str], message: str, folder: Path, call: Call, tmp_path: Path
) -> None:
    result = call("adopt", folder, "-o", tmp_path / "b", *words)
    assert result.code in (1, 2)
    assert message in result.error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table"]


def test_a_checkpoint_without_a_graph_is_told_the_other_command(tiny_folder: Callable[..., Path], call: Call) -> None:
    result = call("adopt", tiny_folder("bert", layers=1))
    assert "it holds no *.onnx file; to export a checkpoint use: pool-export MODEL" in result.error()


def test_options_of_tracing_are_not_offered(call: Call) -> None:
    shown = call("adopt", "--help").out
    assert "--opset" not in shown
    assert "--trust-remote-code" not in shown
    assert "--graph" in shown
