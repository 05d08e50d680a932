"""`pool-export triton`: a model repository, and a code that says whether it was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .conftest import Result

Call = Callable[..., Result]


def test_the_model_is_named_and_placed(classifier: Path, call: Call, tmp_path: Path) -> None:
    result = call("triton", classifier, "-o", tmp_path, "--name", "three")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{tmp_path / 'three'}: three, for tritonserver --model-repository {tmp_path}\n"
    assert (tmp_path / "three/config.pbtxt").is_file()
    assert (tmp_path / "three/1/model.onnx").is_file()


def test_json_names_the_folders(classifier: Path, call: Call, tmp_path: Path) -> None:
    result = call("triton", classifier, "-o", tmp_path, "--name", "three", "--json")
    assert json.loads(result.out) == {
        "bundle": str(classifier), "repository": str(tmp_path), "models": [str(tmp_path / "three")],
    }  # fmt: skip


def test_bad_input_is_one_line(classifier: Path, call: Call, tmp_path: Path) -> None:
    failed = call("triton", classifier, "-o", tmp_path, "--instances", "0")
    assert (failed.code, failed.error()) == (2, "instances must be at least 1, got 0")
    failed = call("triton", classifier, "-o", tmp_path, "--precision", "int8")
    assert failed.code == 1
    assert "has no int8 graph" in failed.error()
    assert call("triton", classifier).code == 2
    call("triton", classifier, "-o", tmp_path, "--name", "m")
    again = call("triton", classifier, "-o", tmp_path, "--name", "m")
    assert again.code == 1
    assert "already holds a model" in again.error()
