"""Which ONNX file of a folder is meant, and what a Hub repository is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pool_export.export.adopt.files import find_graphs, locate_export
from pool_export.export.errors import SourceError
from pool_export.export.request import ExportRequest


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["onnx/model.onnx"], "onnx/model.onnx"),
        (["model.onnx"], "model.onnx"),
        (["model_optimized.onnx"], "model_optimized.onnx"),  # qdrant's repositories
        (["onnx/model.onnx", "onnx/model_O3.onnx", "onnx/model_qint8_avx512.onnx"], "onnx/model.onnx"),
        (["onnx/model.onnx", "onnx/model_optimized.onnx"], "onnx/model.onnx"),
        (["onnx/encoder.onnx"], "onnx/encoder.onnx"),
    ],
)
def test_known_names_are_found(names: list[str], chosen: str, tmp_path: Path) -> None:
    assert find_graphs(folder_of(tmp_path, *names), None).main == tmp_path / chosen


def test_siblings_have_the_stem_of_the_graph(tmp_path: Path) -> None:
    names = ["model", "model_fp16", "model_quantized", "model_int8", "model_q4", "model_uint8"]
    folder = folder_of(tmp_path, *(f"onnx/{name}.onnx" for name in names), "model_fp16.onnx")
    found = find_graphs(folder, None).siblings
    assert found == {"fp16": tmp_path / "onnx/model_fp16.onnx", "int8": tmp_path / "onnx/model_int8.onnx"}
    assert find_graphs(folder, "onnx/model_q4.onnx").siblings == {}


@pytest.mark.parametrize(
    ("names", "graph", "message"),
    [
        ([], None, "holds no .*onnx file; to export a checkpoint use: pool-export MODEL"),
        (["model.onnx", "onnx/model.onnx"], None, "has onnx/model.onnx and model.onnx; choose one with --graph"),
        (["a.onnx", "b.onnx"], None, "it holds a.onnx, b.onnx; choose one with --graph"),
        (["model.onnx"], "onnx/model.onnx", "has no onnx/model.onnx; it holds model.onnx"),
        (["model.onnx"], "../model.onnx", "must be the path of an .onnx file inside the folder"),
        (["model.onnx"], "config.json", "must be the path of an .onnx file inside the folder"),
    ],
)
def test_what_cannot_be_chosen_is_said(names: list[str], graph: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message):
        find_graphs(folder_of(tmp_path, *names), graph)


def test_a_hub_id_is_asked_for_the_graph_and_the_small_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(model: str, **options: Any) -> str:
        asked.update(options, model=model)
        return str(tmp_path / "abc123")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    request = ExportRequest(model="Xenova/all-MiniLM-L6-v2", revision="main")
    assert locate_export(request, None) == (tmp_path / "abc123", "abc123")
    assert asked["model"] == "Xenova/all-MiniLM-L6-v2"
    assert {"onnx/model.onnx*", "model_optimized.onnx*", "onnx/model_quantized.onnx*"} <= set(asked["allow_patterns"])
    assert "*.safetensors" not in asked["allow_patterns"]
    locate_export(request, "onnx/model_O2.onnx")
    assert "onnx/model_O2.onnx*" in asked["allow_patterns"]
    assert "onnx/model.onnx*" not in asked["allow_patterns"]
