"""Graphs that cannot become bundles are refused by name; the others are read as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from pool_export.export.adopt.original import read_original
from pool_export.export.errors import ExportError, SourceError

from .conftest import toy_model

IDS, MASK = "int64[batch, length] input_ids", "int64[batch, length] attention_mask"


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[onnx.ModelProto], Path]:
    """Return `saved(model)`: its file."""

    def save(model: onnx.ModelProto) -> Path:
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return save


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            f"{IDS}, {MASK}, float[b, 2, p, 8] past_key_values_0",
            "takes a key-value cache .past_key_values_0 and 0 more",
        ),
        (f"{IDS}, {MASK}, bool[1] use_cache_branch", "takes a key-value cache"),
        (f"{IDS}, {MASK}, float[b, 3, 224, 224] pixel_values", "inputs that no bundle feeds: pixel_values"),
        (IDS, "has no input attention_mask; found input_ids"),
        (f"int64[1, length] input_ids, {MASK}", "input_ids has a fixed batch_size of 1; .*dynamic axes"),
        (f"{IDS}, int64[batch, 128] attention_mask", "attention_mask has a fixed sequence_length of 128"),
        (f"int64[batch] input_ids, {MASK}", r"input_ids has shape \['batch'\], expected two axes"),
    ],
)
def test_inputs_that_no_bundle_has(inputs: str, message: str, saved: Callable[..., Path]) -> None:
    with pytest.raises(ExportError, match=message):
        read_original(saved(toy_model(inputs=inputs)))


def test_a_damaged_file(tmp_path: Path, saved: Callable[..., Path]) -> None:
    path = saved(toy_model())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SourceError, match="is not a readable ONNX model"):
        read_original(path)
    path.write_bytes(b"")
    with pytest.raises(SourceError, match="is not a readable ONNX model"):
        read_original(path)


def test_external_data_that_is_missing_or_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(toy_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert read_original(path).program.graph.initializers["table"].const_value is not None
    model = onnx.load(path, load_external_data=False)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(SourceError, match=r"weights\.bin"):
        read_original(path)
    entry = next(item for item in model.graph.initializer[0].external_data if item.key == "location")
    entry.value = "../outside.bin"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SourceError, match="outside"):
        read_original(path)


def test_old_opsets_are_converted_and_newer_ones_kept(saved: Callable[..., Path]) -> None:
    assert read_original(saved(toy_model(opset=11))).opset == 18
    assert read_original(saved(toy_model(opset=13))).opset == 13
    assert read_original(saved(toy_model(opset=21))).opset == 21


def test_an_old_opset_that_cannot_be_converted(saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: onnx.ModelProto, version: int) -> None:
        raise RuntimeError("no adapter for Foo")

    monkeypatch.setattr(onnx.version_converter, "convert_version", refuse)
    with pytest.raises(ExportError, match=r"opset 11 and cannot be converted to 18 \(no adapter for Foo\)"):
        read_original(saved(toy_model(opset=11)))


def test_precision_is_read_from_the_weights(saved: Callable[..., Path]) -> None:
    assert read_original(saved(toy_model())).precision == "fp32"
    half = toy_model(body="h = Gather (half, input_ids) last_hidden_state = Cast <to = 1> (h)")
    table = onnx.numpy_helper.to_array(half.graph.initializer[0]).astype(np.float16)
    half.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(table, "half"))
    assert read_original(saved(half)).precision == "fp16"
    quantised = "q, s, z = DynamicQuantizeLinear (h) last_hidden_state = DequantizeLinear (q, s, z)"
    body = f"h = Gather (table, input_ids) {quantised}"
    assert read_original(saved(toy_model(body=body))).precision == "int8"


def test_four_bit_weights_have_no_name_here(saved: Callable[..., Path]) -> None:
    model = toy_model(body="last_hidden_state = com.microsoft.MatMulNBits (table, table)")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ExportError, match=r"4-bit weights \(MatMulNBits\)"):
        read_original(saved(model))


def test_operators_of_others_are_counted(saved: Callable[..., Path]) -> None:
    model = toy_model(body="h = Gather (table, input_ids) last_hidden_state = com.microsoft.Gelu (h)")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    assert read_original(saved(model)).operators == {"com.microsoft.Gelu": 1}
    assert read_original(saved(toy_model())).operators == {}


def test_weights_among_the_inputs_are_no_inputs(saved: Callable[..., Path]) -> None:
    model = toy_model()
    model.ir_version = 3  # files of those days list every initializer as an input
    table = model.graph.initializer[0]
    model.graph.input.append(onnx.helper.make_tensor_value_info("table", table.data_type, table.dims))
    names = [value.name for value in read_original(saved(model)).program.graph.inputs]
    assert names == ["input_ids", "attention_mask"]
