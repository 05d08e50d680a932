"""Files of other precisions beside the graph: kept where close enough, named where not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from pool_export import LLM
from pool_export.export.errors import ParityError

from .conftest import Plain


def halve(source: Path, target: Path) -> None:
    """Store every float32 weight as float16, and cast it back where it is used."""
    model = onnx.load(source)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array, name = onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, f"{name}/half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}/half"], [name], to=onnx.TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    onnx.save(model, target)


def quantize(source: Path, target: Path) -> None:
    quantize_dynamic(source, target, weight_type=QuantType.QInt8)


@pytest.fixture
def folder(toy: Plain) -> Path:
    """A transformers.js repository: the float graph, and both siblings."""
    made = toy(body="h = Gather (table, input_ids) last_hidden_state = MatMul (h, weight)")
    halve(made / "onnx/model.onnx", made / "onnx/model_fp16.onnx")
    quantize(made / "onnx/model.onnx", made / "onnx/model_quantized.onnx")
    return made


def test_both_are_taken_where_they_meet_the_bars(folder: Path, adopt: Any) -> None:
    result = adopt(folder)
    assert sorted(result.manifest.graphs) == ["fp16", "fp32", "int8"]
    assert [note.split(" (")[0] for note in result.notes] == [
        "model_fp16.onnx is taken as the fp16 graph",
        "model_quantized.onnx is taken as the int8 graph",
    ]
    files = [graph.files[0].path for graph in result.manifest.graphs.values()]
    assert files == ["onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_int8.onnx"]
    report = result.manifest.graphs["int8"].parity
    assert report["bars"]["min_cosine"] == 0.98
    assert min(row["mean_cosine"] for case in report["cases"].values() for row in case.values()) >= 0.995
    (wanted,) = LLM(result.folder).embed("hello there", use_tqdm=False)
    for precision in ("fp16", "int8"):
        (found,) = LLM(result.folder, precision=precision).embed("hello there", use_tqdm=False)
        assert found.outputs.embedding != wanted.outputs.embedding
        np.testing.assert_allclose(found.outputs.embedding, wanted.outputs.embedding, atol=0.02)
    assert LLM(result.folder).engine.session.precision == "fp32"


def test_a_sibling_that_misses_the_bars_is_left_out_by_name(folder: Path, adopt: Any) -> None:
    def spoil(name: str) -> None:
        model = onnx.load(folder / "onnx" / name)
        for tensor in model.graph.initializer:
            if tensor.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8) and tensor.dims[:] == [4, 4]:
                array = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.roll(array, 1, axis=0), tensor.name))
        onnx.save(model, folder / "onnx" / name)

    spoil("model_fp16.onnx")
    spoil("model_quantized.onnx")
    result = adopt(folder)
    assert list(result.manifest.graphs) == ["fp32"]
    assert "model_fp16.onnx is left out: it disagrees with the float graph: " in result.notes[0]
    assert "model_quantized.onnx is left out: it disagrees with the float graph: " in result.notes[1]
    assert sorted(path.name for path in (result.folder / "onnx").iterdir()) == ["model.onnx"]
    assert LLM(result.folder).embed("hello", use_tqdm=False)


def test_a_sibling_that_is_not_what_its_name_says(folder: Path, adopt: Any) -> None:
    shutil.copyfile(folder / "onnx/model.onnx", folder / "onnx/model_fp16.onnx")
    (folder / "onnx/model_quantized.onnx").write_bytes(b"damaged")
    result = adopt(folder)
    assert result.notes[0] == "model_fp16.onnx is left out: by its name it is fp16, its weights are fp32"
    assert "is not a readable ONNX model" in result.notes[1]


def test_scores_of_one_number_are_judged_by_their_correlation(plain: Plain, adopt: Any, tmp_path: Path) -> None:
    made = Path(shutil.copytree(plain("bert", "sequence_1"), tmp_path / "scorer"))
    halve(made / "onnx/model.onnx", made / "onnx/model_fp16.onnx")
    good = adopt(made)
    assert good.manifest.graphs["fp16"].parity["score_correlation"] > 0.999
    model = onnx.load(made / "onnx/model_fp16.onnx")
    (output,) = [node for node in model.graph.node if "logits" in node.output]
    output.output[:] = ["logits/before"]
    model.graph.node.append(onnx.helper.make_node("Neg", ["logits/before"], ["logits"]))
    onnx.save(model, made / "onnx/model_fp16.onnx")
    bad = adopt(made, force=True)
    assert list(bad.manifest.graphs) == ["fp32"]
    assert "correlation of the scores -" in bad.notes[0]


def test_a_half_precision_file_alone_makes_a_bundle(folder: Path, adopt: Any) -> None:
    result = adopt(folder, "onnx/model_fp16.onnx")
    assert list(result.manifest.graphs) == ["fp16"]
    assert result.report["bars"] == {"max_abs": None, "min_cosine": 0.999, "mean_cosine": None}
    llm = LLM(result.folder)  # precision `auto`: what there is
    assert llm.engine.session.precision == "fp16"
    assert llm.embed("hello", use_tqdm=False)[0].outputs.embedding
    assert "`onnx/model.onnx` takes" in (result.folder / "README.md").read_text("utf-8")


def test_a_dynamically_quantised_file_alone_fails_the_gate_with_a_hint(
    plain: Plain, adopt: Any, tmp_path: Path
) -> None:
    made = Path(shutil.copytree(plain("bert"), tmp_path / "int8"))
    quantize(made / "onnx/model.onnx", made / "onnx/model_quantized.onnx")
    with pytest.raises(ParityError, match=r"a text alone and in a batch differ by .*adopt the float graph"):
        adopt(made, "onnx/model_quantized.onnx")
