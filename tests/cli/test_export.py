"""`pool-export MODEL`: what it says, what it writes, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_export.export import pipeline
from pool_export.runtime.bundle import open_bundle

from .conftest import COMMAND, Result

Call = Callable[..., Result]

STEPS = [
    "Starting torch and transformers …",
    "Reading {model} …",
    "Loading weights …",
    "Tracing the graph …",
    "Writing the bundle …",
    "Verifying against the reference …",
]


@pytest.fixture
def wrong_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a fault: the traced graph pools the mean, the reference the first token."""
    adapt = pipeline.adapt

    def wrong(source: Any, model: Any, spec: Any) -> Any:
        return adapt(source, model, dataclasses.replace(spec, pooling=("MEAN",)))

    monkeypatch.setattr(pipeline, "adapt", wrong)


def test_a_user_sees_the_steps_and_the_result_and_no_library(
    tiny_folder: Callable[..., Path], process: Call, tmp_path: Path
) -> None:
    model = tiny_folder("bert", "sequence_3")
    result = process(model)
    assert result.code == 0
    assert result.err.splitlines() == [step.format(model=model) for step in STEPS]
    *table, blank, verdict = result.out.splitlines()
    assert [line.split()[0] for line in table[:1] + table[2:]] == [
        "setting", "convert", "tasks", "pooling", "activation", "labels", "longest",
    ]  # fmt: skip
    assert blank == ""
    bundle = tmp_path / f"{model.name}-bundle"
    assert verdict.startswith(f"{bundle}: classify bundle, agrees with the reference on ")
    assert os.listdir(tmp_path) == [bundle.name]
    assert open_bundle(bundle).verify_hashes() == ["onnx/model.onnx"]


def test_debug_shows_the_libraries_and_keeps_stdout_one_document(
    tiny_folder: Callable[..., Path], call: Call, in_tmp_path: Path
) -> None:
    model = tiny_folder("bert")
    result = call(model, "--debug", "--json", "-o", "out")
    assert json.loads(result.out)["bundle"] == "out"
    steps = [step.format(model=model) for step in STEPS]
    assert [line for line in result.err.splitlines() if line in steps] == steps
    assert "[torch.onnx]" in result.err


def test_json_has_the_documented_keys(tiny_folder: Callable[..., Path], call: Call, in_tmp_path: Path) -> None:
    result = call(tiny_folder("bert"), "-o", "out", "--json")
    assert result.code == 0
    document = json.loads(result.out)
    assert {key: type(value).__name__ for key, value in document.items()} == {
        "bundle": "str", "source": "dict", "convert": "str", "tasks": "list", "pooling": "dict", "tokenizer": "dict",
        "graphs": "list", "parity": "dict", "precisions": "dict", "engines": "list", "seconds": "float",
    }  # fmt: skip
    assert (document["bundle"], document["convert"], document["graphs"]) == ("out", "embed", ["fp32"])
    assert set(document["parity"]) == {
        "passed", "samples", "max_abs", "min_cosine", "mean_cosine", "batch_invariance",
        "neighbour_overlap", "failures",
    }  # fmt: skip
    assert document["parity"]["passed"] is True
    shown = json.loads(call("inspect", "out", "--json").out)
    assert [document[key] for key in ("source", "tasks", "pooling", "tokenizer")] == [
        shown[key] for key in ("source", "tasks", "pooling", "tokenizer")
    ]


def test_a_graph_that_disagrees_is_not_written(
    tiny_folder: Callable[..., Path], call: Call, in_tmp_path: Path, wrong_pooling: None
) -> None:
    result = call(tiny_folder("bert"), "-o", "out")
    assert result.code == 1
    assert "sentence_embedding" in result.error()
    assert os.listdir() == []


def test_force_replaces_a_bundle_only_once_the_new_one_is_complete(
    tiny_folder: Callable[..., Path], call: Call, damaged: Path, wrong_pooling: None
) -> None:
    """The first export misses the bar, the second is allowed to."""
    before = (damaged / "pool_export.json").read_bytes()
    assert call(tiny_folder("bert"), "-o", damaged, "--force").code == 1
    assert (damaged / "pool_export.json").read_bytes() == before
    result = call(tiny_folder("bert"), "-o", damaged, "--force", "--allow-mismatch")
    assert result.code == 0
    assert f"{damaged}: embed bundle, DISAGREES with the reference on " in result.out
    assert json.loads(call("inspect", damaged, "--json").out)["graphs"]["fp32"]["parity"]["passed"] is False
    assert os.listdir(damaged.parent) == [damaged.name]


@pytest.mark.parametrize(
    ("number", "step", "code", "line"),
    [
        (signal.SIGINT, "Tracing the graph", 130, "interrupted; nothing was left behind"),
        (signal.SIGTERM, "Writing the bundle", 143, "terminated; nothing was left behind"),
    ],
    ids=["ctrl-c", "sigterm"],
)
def test_a_signal_ends_the_export_and_leaves_nothing(
    number: int, step: str, code: int, line: str, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    words = [*COMMAND, str(tiny_folder("bert")), "-o", "out"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for shown in process.stderr:
        if shown.startswith(step):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    *steps, last = err.splitlines()
    assert last == f"Error: {line}"
    assert all(shown.endswith(" …") for shown in steps)
    assert os.listdir(tmp_path) == []


def test_without_the_exporter_it_names_the_extra(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipeline", "adapters"):
        monkeypatch.delitem(sys.modules, f"pool_export.export.{name}")
    monkeypatch.setitem(sys.modules, "torch", None)
    result = call("./my-model")
    assert result.code == 1
    assert result.error() == "torch is not installed; run: pip install 'pool-export[export]'"
