"""Whole exports in several precisions: what is written, what the manifest says, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.torch import load_file, save_file

from pool_export import LLM
from pool_export.export.errors import ExportError, ParityError
from pool_export.export.pipeline import export_model
from pool_export.export.precision import half, siblings
from pool_export.export.reporting import ExportResult
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.texts import sentences
from pool_export.models_zoo.tiny import write_tiny
from pool_export.models_zoo.tiny_vision import write_tiny_vision
from pool_export.runtime import bars

Export = Callable[..., ExportResult]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    def export(folder: Path, *precisions: str, **options: Any) -> ExportResult:
        request = ExportRequest(model=str(folder), output=tmp_path / "bundle", precision=precisions, **options)  # type: ignore[arg-type]
        return export_model(request)

    return export


@pytest.mark.parametrize("family", ["bert", "modernbert", "t5", "qwen3", "gpt2", "deberta-v2"])
def test_int8_and_fp16_graphs_of_every_kind_of_backbone_pass(family: str, tiny_folder: Any, export: Export):
    result = export(tiny_folder(family), "int8", "fp16")
    assert list(result.manifest.graphs) == ["fp32", "fp16", "int8"]
    for precision in ("fp16", "int8"):
        graph = result.manifest.graphs[precision]
        assert graph.files[0].path == f"onnx/model_{precision}.onnx"
        assert (graph.inputs, graph.outputs) == (
            result.manifest.graphs["fp32"].inputs,
            result.manifest.graphs["fp32"].outputs,
        )
        assert graph.parity["passed"]
        assert graph.parity["batch_invariance"] < 1e-6
        assert graph.operators == {}
    assert result.manifest.graphs["int8"].parity["layers"] >= 8
    kinds = [node.op_type for node in onnx.load(result.folder / "onnx/model_int8.onnx").graph.node]
    assert kinds.count("QuantizeLinear") >= 4
    assert [path.name for path in sorted((result.folder / "onnx").iterdir())] == [
        "model.onnx", "model_fp16.onnx", "model_int8.onnx",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_trained_model_keeps_its_vectors(minilm_folder: Path, export: Export):
    graphs = export(minilm_folder, "fp16", "bf16", "int8").manifest.graphs
    least = {"fp16": (0.99999, 0.99999), "bf16": (0.9999, 0.9999), "int8": (0.99, 0.997)}
    for precision, (lowest, mean) in least.items():
        report = graphs[precision].parity
        figures = report["cases"]["batched"]["sentence_embedding"]
        assert figures["min_cosine"] > lowest
        assert figures["mean_cosine"] > mean
        assert report["batch_invariance"] < 1e-6
        assert report["float32_layers"] == []
    assert graphs["int8"].parity["layers"] == 36


def test_users_open_each_graph_by_its_precision(tiny_folder: Any, export: Export):
    folder = export(tiny_folder("bert", layers=1, hidden_size=64), "fp16", "bf16", "int8").folder
    texts = list(sentences()[40:60])
    wanted = np.array([row.outputs.embedding for row in LLM(folder, threads=1).embed(texts)])
    for precision in ("fp16", "int8"):
        llm = LLM(folder, precision=precision, device="cpu", threads=1)
        found = np.array([row.outputs.embedding for row in llm.embed(texts)])
        assert ((wanted * found).sum(axis=1) > 0.98).all()
        assert not np.array_equal(wanted, found)
        alone = np.array(llm.embed(texts[3])[0].outputs.embedding)
        np.testing.assert_allclose(alone, found[3], atol=1e-6)


def test_scores_of_one_number_are_judged_together(tiny_folder: Any, export: Export):
    result = export(tiny_folder("bert", "sequence_1"), "int8")
    assert result.manifest.graphs["int8"].parity["score_correlation"] > 0.98


@pytest.fixture
def loud(tmp_path: Path) -> Callable[..., Path]:
    """Return `loud(*endings)`: a Qwen3 with the parameters of these names scaled up, so that inner values reach 1e6."""

    def loud(*endings: str) -> Path:
        folder = write_tiny(tmp_path / "loud", "qwen3")
        weights = load_file(folder / "model.safetensors")
        for name in weights:
            if name.endswith(endings):
                weights[name] *= 3e5
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return folder

    return loud


NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
STREAM = ("embed_tokens.weight", "o_proj.weight", "down_proj.weight")


def test_a_residual_stream_beyond_fp16_stays_float32_and_so_do_the_layers_that_write_it(loud: Any, export: Export):
    graph = export(loud(*STREAM), "fp16", "int8").manifest.graphs["fp16"]
    assert graph.parity["passed"]
    assert len(graph.parity["float32_layers"]) == 4  # two layers, two each


@pytest.mark.parametrize(("family", "loud"), [("bert", False), ("qwen3", True), ("gemma3_text", True), ("t5", True)])
def test_families_known_to_overflow_keep_a_float32_residual_stream_in_fp16(
    family: str, loud: bool, tiny_folder: Any, export: Export
):
    result = export(tiny_folder(family, layers=1, hidden_size=64), "fp16")
    graph = result.manifest.graphs["fp16"]
    assert graph.parity["reach"] == ("no_sums" if loud else "all")
    model = onnx.shape_inference.infer_shapes(onnx.load(result.folder / graph.files[0].path), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    constant = {item.name for item in model.graph.initializer}
    sums = [
        types.get(node.output[0])
        for node in model.graph.node
        if node.op_type == "Add" and not constant & set(node.input)
    ]
    assert (onnx.TensorProto.FLOAT16 in sums) != loud
    assert onnx.TensorProto.FLOAT16 in types.values()


def test_bf16_holds_what_they_compute(tiny_folder: Any, export: Export):
    result = export(tiny_folder("gemma3_text", layers=1, hidden_size=64), "bf16", allow_mismatch=True)
    assert result.manifest.graphs["bf16"].parity["reach"] in half.REACHES
    assert half.reaches("bf16", "gemma3_text") == half.REACHES
    assert half.reaches("fp16", "qwen2") == half.reaches("fp16", "umt5") == half.REACHES[1:]
    assert half.reaches("fp16", "bert") == half.REACHES


def test_a_model_that_fp16_cannot_hold_is_refused_by_the_node(loud: Any, export: Export, leftovers: Any):
    folder = loud(*NORMS)
    before = leftovers()
    with pytest.raises(ExportError, match=r"fp16 cannot hold what this model computes: node_\w+ reaches \d"):
        export(folder, "fp16")
    assert leftovers() == before


def test_a_value_that_only_the_samples_have_is_named(
    loud: Any, export: Export, monkeypatch: pytest.MonkeyPatch, leftovers: Any
):
    """Plant it: the calibration texts show nothing of the ranges."""
    monkeypatch.setattr(siblings, "record_ranges", _blind(siblings.record_ranges))
    folder = loud(*NORMS)
    before = leftovers()
    for options in ({}, {"allow_mismatch": True}):
        with pytest.raises(
            ParityError, match=r"not finite.*the first value beyond 6\.55e\+04 is what node_\w+ answers"
        ):
            export(folder, "fp16", **options)
        assert leftovers() == before


def _blind(record: Callable[..., dict[str, float]]) -> Callable[..., dict[str, float]]:
    def blind(program: Any, values: Any, inputs: Any, pad_id: int) -> dict[str, float]:
        found = record(program, values, inputs, pad_id)
        return found if any("emulated" in node.name for node in program.graph) else dict.fromkeys(found, 1.0)

    return blind


def test_a_missed_bar_fails_the_export_or_is_recorded(
    tiny_folder: Any, export: Export, monkeypatch: pytest.MonkeyPatch, leftovers: Any
):
    strict = dataclasses.replace(bars.BARS["int8"], min_cosine=0.99999)
    monkeypatch.setitem(bars.BARS, "int8", strict)
    before = leftovers()
    with pytest.raises((ParityError, ExportError), match="int8"):
        export(tiny_folder("bert", layers=1), "int8")
    assert leftovers() == before


def test_neighbours_are_a_bar_of_int8(tiny_folder: Any, export: Export, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(siblings._FEWEST_NEIGHBOURS, "int8", 1.1)
    monkeypatch.setattr(siblings, "_MOST_ERRORS", (0.06,))
    with pytest.raises(ParityError, match=r"ten nearest texts 0\.9\d\d are the same"):
        export(tiny_folder("bert", layers=1), "int8")
    result = export(tiny_folder("bert", layers=1), "int8", allow_mismatch=True)
    assert not result.manifest.graphs["int8"].parity["passed"]
    assert result.report["passed"]


def test_layers_that_err_most_stay_float32(tiny_folder: Any, export: Export, monkeypatch: pytest.MonkeyPatch):
    full = export(tiny_folder("bert", layers=1), "int8").manifest.graphs["int8"].parity
    monkeypatch.setattr(siblings, "_MOST_ERRORS", (full["largest_error"] - 1e-6,))
    kept = export(tiny_folder("bert", layers=1), "int8", force=True).manifest.graphs["int8"].parity
    assert full["float32_layers"] == []
    assert 1 <= len(kept["float32_layers"]) == full["layers"] - kept["layers"]
    monkeypatch.setattr(siblings, "_MOST_ERRORS", (1e-5,))
    with pytest.raises(ExportError, match="int8 errs too much in most layers: node_"):
        export(tiny_folder("bert", layers=1), "int8", force=True)


def test_an_image_tower_has_no_other_precision(tmp_path: Path, export: Export):
    with pytest.raises(ExportError, match="image tower is exported in fp32 only, got --precision int8"):
        export(write_tiny_vision(tmp_path / "clip", "clip"), "int8")
