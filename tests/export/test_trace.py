"""The graph contract: names, order, types, axes, opset; and shapes nobody showed the tracer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto

from pool_export.export import trace as tracing
from pool_export.export.errors import ExportError
from pool_export.export.request import MAX_OPSET, MIN_OPSET
from pool_export.export.trace import annotate, trace
from pool_export.models_zoo.tiny import write_tiny

IDS = ["input_ids", "attention_mask"]
TYPED = [*IDS, "token_type_ids"]
BATCH, LENGTH = "batch_size", "sequence_length"

# family, head, options -> inputs, outputs with the shapes after the batch axis
CONTRACT: list[tuple[str, str, dict[str, Any], list[str], dict[str, list[Any]]]] = [
    (
        "bert", "base", {}, TYPED,
        {"sentence_embedding": [32], "last_hidden_state": [LENGTH, 32], "unnormalized_embedding": [32]},
    ),
    (
        "qwen3", "base", {}, IDS,
        {"sentence_embedding": [32], "last_hidden_state": [LENGTH, 32], "unnormalized_embedding": [32]},
    ),
    ("bert", "sequence_3", {}, TYPED, {"logits": [3], "probs": [3]}),
    ("roberta", "sequence_1", {}, IDS, {"logits": [1], "probs": [1]}),
    ("t5", "token_5", {}, IDS, {"logits": [LENGTH, 5], "probs": [LENGTH, 5]}),
    ("qwen2", "sequence_1", {"convert": "reward"}, IDS, {"rewards": [LENGTH, 1]}),
    ("bert", "base", {"convert": "reward"}, TYPED, {"rewards": [LENGTH, 32]}),
    (
        "bert", "base", {"pooler_config": {"pooling_type": "ALL"}}, TYPED,
        {"token_embeddings": [LENGTH, 32], "last_hidden_state": [LENGTH, 32]},
    ),
]  # fmt: skip


@pytest.fixture(scope="module", params=CONTRACT, ids=lambda row: "-".join((row[0], row[1], *row[2])))
def contract(request: pytest.FixtureRequest, tiny_bundle: Any) -> tuple[Path, list[str], dict[str, list[Any]]]:
    family, head, export, inputs, outputs = request.param
    return tiny_bundle(family, head, export=export, layers=1) / "onnx" / "model.onnx", inputs, outputs


def _described(values: Any) -> dict[str, tuple[int, list[Any]]]:
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


def test_inputs_and_outputs_have_contract_names_order_types_and_axes(contract: Any):
    path, inputs, outputs = contract
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == inputs
    assert [value.name for value in graph.output] == list(outputs)
    assert _described(graph.input) == {name: (TensorProto.INT64, [BATCH, LENGTH]) for name in inputs}
    assert _described(graph.output) == {name: (TensorProto.FLOAT, [BATCH, *shape]) for name, shape in outputs.items()}


def test_the_graph_is_valid_standard_onnx_of_opset_20(contract: Any):
    path, *_ = contract
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    assert {(entry.domain, entry.version) for entry in model.opset_import if entry.domain == ""} == {("", 20)}
    assert {node.domain for node in model.graph.node} == {""}
    assert len(model.functions) == 0


def test_the_file_alone_says_what_it_holds(contract: Any):
    path, *_ = contract
    model = onnx.load(path, load_external_data=False)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["pool_export.format"] == "1"
    assert facts["pool_export.convert"] in ("embed", "classify", "reward")
    assert facts["pool_export.architecture"]
    assert facts["pool_export.max_length"] == "128"
    assert model.producer_name == "pool-export"


def test_the_file_says_nothing_about_the_machine_that_made_it(contract: Any):
    path, *_ = contract
    content = path.read_bytes()
    for folder in (Path(tracing.__file__).parents[1], Path(onnx.__file__).parents[1], Path.home()):
        assert f"{folder}/".encode() not in content
    nodes = onnx.load(path).graph.node
    assert {entry.key for node in nodes for entry in node.metadata_props} <= {"namespace"}


def test_every_weight_in_the_file_is_used(contract: Any):
    path, *_ = contract
    graph = onnx.load(path).graph
    used = {name for node in graph.node for name in node.input}
    assert {item.name for item in graph.initializer} - used == set()


@pytest.mark.parametrize("shape", [(1, 1), (1, 128), (5, 2), (2, 1), (70, 3)], ids=str)
def test_shapes_the_tracer_never_saw_run(contract: Any, shape: tuple[int, int], open_llm: Any):
    path, inputs, outputs = contract
    session = open_llm(path.parent.parent).engine.session
    feeds = {name: np.ones(shape, np.int64) for name in inputs}
    feeds["input_ids"] = np.arange(shape[0] * shape[1]).reshape(shape) % 300 + 5
    feeds["token_type_ids"] = np.zeros(shape, np.int64)
    values = session.run(feeds, list(outputs))
    for name, rest in outputs.items():
        assert values[name].shape == (shape[0], *(shape[1] if size == LENGTH else size for size in rest))
        assert np.isfinite(values[name]).all()


@pytest.mark.parametrize(("family", "head"), [("qwen2", "sequence_1"), ("bert", "base")])
def test_rewards_of_padding_are_zero(family: str, head: str, tiny_bundle: Any, open_llm: Any):
    session = open_llm(tiny_bundle(family, head, export={"convert": "reward"}, layers=1)).engine.session
    feeds = {name: np.full((2, 6), 7, np.int64) for name in session.input_names}
    feeds["attention_mask"] = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]])
    feeds["token_type_ids"] = np.zeros((2, 6), np.int64)
    rewards = session.run(feeds, ["rewards"])["rewards"]
    assert (rewards[feeds["attention_mask"] == 0] == 0).all()
    assert (rewards[feeds["attention_mask"] == 1] != 0).all()


# ------------------------------------------------------------------------------------------------------- opsets


@pytest.mark.parametrize("opset", [MIN_OPSET, 21, MAX_OPSET])
def test_the_opset_asked_for_is_the_opset_written_and_it_runs(
    opset: int, tmp_path: Path, adapted: Any, small_bert: Path
):
    composed = adapted(small_bert)
    program = trace(composed.module, max_length=128, opset=opset)
    assert program.opset_imports[""] == opset
    ir.save(program, tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    texts = ["one short text", "and another one that is quite a bit longer than the first"]
    feeds = {name: value.numpy() for name, value in composed.batch(texts, "left").items()}
    found = dict(zip([value.name for value in session.get_outputs()], session.run(None, feeds), strict=True))
    for name, wanted in composed.run(texts, "left").items():
        if name != "last_hidden_state":
            assert np.abs(found[name] - wanted).max() <= 1e-5


# ------------------------------------------------------------------------------------------------------ refusals


def test_a_model_must_take_two_tokens_to_be_traced(adapted: Any, small_bert: Path):
    with pytest.raises(ExportError, match="max_model_len must be at least 2 to trace a model, got 1"):
        trace(adapted(small_bert).module, max_length=1, opset=20)


def test_a_short_limit_is_the_bound_of_the_axis(adapted: Any, tmp_path: Path):
    module = adapted(write_tiny(tmp_path / "model", "bert", layers=0)).module
    program = trace(module, max_length=4, opset=20)
    assert [str(dim.value) for dim in program.graph.inputs[0].shape] == [BATCH, LENGTH]


def test_a_failure_of_the_exporter_is_one_line(adapted: Any, small_bert: Path, monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def export(self, *args: object) -> None:
            raise RuntimeError("\n\nConstraints violated (batch)!\n  - a page of details\n  - more of it")

    monkeypatch.setattr(tracing, "OnnxExporter", Broken)
    with pytest.raises(ExportError) as caught:
        trace(adapted(small_bert).module, max_length=128, opset=20)
    assert str(caught.value) == "BertModel cannot be traced: Constraints violated (batch)!"


def _program(
    dtype: ir.DataType = ir.DataType.FLOAT, axis: str | int = BATCH, domain: str = "", name: str = "y"
) -> ir.Model:
    x = ir.Value(name="x", shape=ir.Shape([BATCH, LENGTH]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node(domain, "Identity", [x])
    y = node.outputs[0]
    y.name, y.shape, y.type = name, ir.Shape([axis, 3]), ir.TensorType(dtype)
    return ir.Model(ir.Graph([x], [y], nodes=[node], opset_imports={"": 20}), ir_version=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "z"}, "the traced graph has inputs and outputs"),
        ({"dtype": ir.DataType.FLOAT16}, "expected float32"),
        ({"axis": 3}, "expected batch_size first"),
        ({"domain": "com.microsoft"}, "operators outside the ONNX standard"),
    ],
)
def test_a_trace_that_breaks_the_contract_is_refused(options: dict[str, Any], message: str):
    tracing._check_contract(_program(), ["x"], ["y"])
    with pytest.raises(ExportError, match=message):
        tracing._check_contract(_program(**options), ["x"], ["y"])


def test_an_axis_that_became_fixed_is_refused():
    program = _program()
    program.graph.inputs[0].shape = ir.Shape([3, LENGTH])
    with pytest.raises(ExportError, match="an axis became fixed while tracing"):
        tracing._name_axes(program, tracing.AXES)


def test_annotating_replaces_the_tracers_name():
    program = _program()
    annotate(program, {"pool_export.convert": "embed"})
    assert program.metadata_props["pool_export.convert"] == "embed"
    assert (program.producer_name, program.graph.name) == ("pool-export", "pool_export")
