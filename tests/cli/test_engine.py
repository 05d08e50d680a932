"""`pool-export engine`: an engine beside the graphs of a bundle."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Result

Call = Callable[..., Result]


@pytest.fixture
def copied(classifier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(classifier, tmp_path / "bundle"))


def test_an_engine_is_built_once_and_said_to_be_there(copied: Path, call: Call) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    words = ("engine", copied, "--target", "tensorrt-rtx", "--compute-capability", "8.9")
    first = call(*words)
    assert first.code == 0
    assert first.steps() == ["Building the TensorRT for RTX engine in fp32 …"]
    assert first.out.startswith(f"{copied}: engines/tensorrt-rtx_fp32_sm89.plan ")
    assert "(compute capability 8.9; profiles 1x1:1x64:1x128, 1x1:64x128:64x128)" in first.out
    again = call(*words)
    assert again.steps() == []
    assert again.out.startswith(f"{copied}: engines/tensorrt-rtx_fp32_sm89.plan is up to date ")
    document = json.loads(call(*words, "--json").out)
    assert document["reused"]
    assert document["engine"]["key"]["compute_capabilities"] == ["8.9"]
    assert [item["name"] for item in document["engine"]["outputs"]] == ["logits", "probs"]
    assert json.loads(call(*words, "--json", "--force").out)["reused"] is False


def test_inspect_lists_the_engines_and_says_which_are_stale(copied: Path, call: Call) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    assert "Engines" not in call("inspect", copied).out
    assert call("engine", copied, "--target", "tensorrt-rtx").code == 0
    (path,) = (copied / "engines").glob("*.json")

    def row() -> str:
        (found,) = [line for line in call("inspect", copied).out.splitlines() if path.stem in line]
        return found

    assert row().split("  ")[-1].strip() == "1x1:1x64:1x128, 1x1:64x128:64x128"
    assert "8.0 and newer" in row()
    assert "another graph" not in row()
    document = json.loads(path.read_text())
    document["key"]["graph"] = ["0" * 64]
    path.write_text(json.dumps(document))
    assert "of another graph: build it again" in row()
    path.write_text("{")
    assert "its description is damaged" in row()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "Missing option '--target'"),
        (["--target", "onnx"], "'--target'"),
        (["--target", "tensorrt-rtx", "--profiles", "1x1"], "expected auto, or profiles such as 1x1:1x64:8x512"),
        (["--target", "tensorrt-rtx", "--profiles", "1x8:1x4:1x9"], "expected 1 <= min <= opt <= max"),
        (["--target", "tensorrt-rtx", "--workspace", "much"], "expected a size"),
        (["--target", "tensorrt-rtx", "--compute-capability", "89"], "expected compute capabilities such as"),
        (["--target", "tensorrt-rtx", "--timing-cache", "t"], "--timing-cache is for tensorrt"),
        (["--target", "tensorrt", "--compute-capability", "8.9"], "--compute-capability is for tensorrt-rtx"),
        (["--target", "tensorrt-rtx", "--precision", "int8"], "'--precision'"),
    ],
)
def test_wrong_options_are_wrong_usage(words: list[str], part: str, copied: Path, call: Call) -> None:
    result = call("engine", copied, *words)
    assert result.code == 2
    assert part in result.error()


def test_what_cannot_be_built_is_one_line(copied: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    result = call("engine", copied, "--target", "tensorrt")
    assert (result.code, result.error()) == (
        1,
        "TensorRT is not installed; run: pip install 'pool-export[tensorrt]'",
    )
    assert call("engine", copied / "nowhere", "--target", "tensorrt").code == 1


def test_a_graph_that_is_not_there_is_named(copied: Path, call: Call) -> None:
    result = call("engine", copied, "--target", "tensorrt-rtx", "--precision", "bf16")
    assert result.code == 1
    assert "has no bf16 graph; available: fp32" in result.error()


def test_options_of_an_engine_need_a_target(call: Call, tmp_path: Path) -> None:
    result = call(tmp_path / "model", "--profiles", "auto", "--workspace", "1GiB")
    assert result.code == 2
    assert "is of an engine, and there is no --target" in result.error()
