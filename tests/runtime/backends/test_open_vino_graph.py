from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.backends.open_vino import _read
from pool_export.runtime.backends.open_vino_graph import round_between_norms, turn_keys_in_the_product

from .conftest import FEEDS, needs_bf16

openvino = pytest.importorskip("openvino", reason="the openvino extra is not installed")
from openvino import opset13  # noqa: E402  (after the skip)


@pytest.fixture
def graph(tiny_bundle: Callable[..., Path]) -> Callable[..., Any]:
    return lambda family, *head, **options: _read(tiny_bundle(family, *head, **options) / "onnx/model.onnx")


def compiled(model: Any, precision: str = "f32") -> Any:
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})


def answers(model: Any) -> list[np.ndarray]:
    feeds = {item.any_name: FEEDS[item.any_name] for item in model.inputs}
    return [value.copy() for value in compiled(model)(feeds).values()]


def transposed_products(model: Any) -> int:
    return sum(
        node.get_attributes()["transpose_b"] and node.input_value(1).get_node().get_type_name() != "Constant"
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul"
    )


@pytest.mark.parametrize("change", [turn_keys_in_the_product, round_between_norms])
@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_the_answers_in_float32_stay_what_they_were(change: Any, family: str, graph: Any):
    model = graph(family)
    want = answers(model)
    assert change(model)
    for found, value in zip(answers(model), want, strict=True):
        np.testing.assert_allclose(found, value, atol=1e-6)


def test_keys_are_turned_once_in_every_layer(graph: Any):
    model = graph("bert", layers=3)
    before = transposed_products(model)
    assert turn_keys_in_the_product(model) == 3
    assert transposed_products(model) == before + 3
    assert turn_keys_in_the_product(model) == 0


def by_hand(order: list[int], *, turned: bool = False) -> Any:
    """Queries [2, 3, 4, 5] times keys, given as [2, 4, 3, 5] and put into an order."""
    queries = opset13.parameter([2, 3, 4, 5], np.float32)
    keys = opset13.parameter([2, 4, 3, 5], np.float32)
    product = opset13.matmul(queries, opset13.transpose(keys, opset13.constant(order)), False, turned)
    return openvino.Model([product], [queries, keys], "product")


def test_only_keys_that_lie_the_wrong_way_are_turned():
    assert turn_keys_in_the_product(by_hand([0, 2, 3, 1])) == 1
    assert turn_keys_in_the_product(by_hand([0, 2, 1, 3], turned=True)) == 0


@pytest.mark.parametrize(
    ("family", "changes"), [("bert", True), ("roberta", True), ("modernbert", False), ("qwen3", False), ("t5", False)]
)
def test_a_residual_that_grows_with_depth_is_left_alone(family: str, changes: bool, graph: Any):
    model = graph(family)
    count = len(model.get_ordered_ops())
    assert round_between_norms(model) is changes
    assert len(model.get_ordered_ops()) == count + 2 * changes


def norms(model: Any) -> list[str]:
    """Return in what every norm is computed, in a graph compiled in bfloat16."""
    nodes = [node.get_rt_info() for node in compiled(model, "bf16").get_runtime_model().get_ordered_ops()]
    return [item["runtimePrecision"].astype(str) for item in nodes if item["layerType"].astype(str) == "MVN"]


@needs_bf16
def test_norms_between_layers_are_bfloat16_and_the_last_one_is_not(graph: Any):
    """What the rewrite is for: OpenVINO alone runs every norm in float32."""
    model = graph("bert", layers=2)
    assert norms(model) == ["f32"] * 5
    assert round_between_norms(model)
    assert norms(model) == ["bf16"] * 4 + ["f32"]


@needs_bf16
def test_a_graph_whose_residual_leads_to_a_classifier_needs_no_change(graph: Any):
    model = graph("bert", "sequence_3", layers=2)
    assert norms(model) == ["bf16"] * 5
    assert not round_between_norms(model)
