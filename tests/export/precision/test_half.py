from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pool_export.export.errors import ExportError
from pool_export.export.precision.half import HALVES, HalfName, emulate, float_layers, rounded_values, to_half

from .conftest import Run, graph_of

GENERATOR = np.random.default_rng(0)
WEIGHT = GENERATOR.normal(size=(4, 32)).astype(np.float32)
SQUARE = GENERATOR.normal(size=(32, 32)).astype(np.float32)
TEXTS = GENERATOR.normal(size=(2, 3, 4)).astype(np.float32)
BODY = "a = MatMul(x, w)\nb = Relu(a)\nd = Softmax(b)\ny = MatMul(d, v)"
RANGES = {"x": 1.0, "a": 10.0, "b": 10.0, "d": 1.0, "y": 10.0}


def types(program: ir.Model) -> dict[str, ir.DataType | None]:
    return {str(value.name): value.dtype for node in program.graph for value in node.outputs}


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_products_and_what_follows_them_are_half_and_softmax_is_not(name: HalfName):
    made = to_half(graph_of(BODY, w=WEIGHT, v=SQUARE), name, RANGES)
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    half = HALVES[name].dtype
    found = types(made)
    assert (found["a"], found["b"], found["d"]) == (half, half, ir.DataType.FLOAT)
    assert [value.dtype for value in (*made.graph.inputs, *made.graph.outputs)] == [ir.DataType.FLOAT] * 2
    assert [value.name for value in made.graph.outputs] == ["y"]
    assert {value.dtype for value in made.graph.initializers.values()} == {half}
    assert float_layers(made) == []


def test_a_value_near_the_largest_number_makes_what_touches_it_float32():
    program = graph_of("a = MatMul(x, w)\nb = MatMul(a, v)\ny = MatMul(b, u)", w=WEIGHT, v=SQUARE, u=SQUARE)
    for node, name in zip(program.graph, ("first", "second", "third"), strict=True):
        node.name = name
    ranges = {"x": 1.0, "a": 20000.0, "b": 10.0, "y": 1.0}
    made = to_half(program, "bf16", ranges)
    assert float_layers(made) == []
    with pytest.raises(
        ExportError, match=r"fp16 cannot hold .* (first|second) reaches 2\.0e\+04, .* 8\.2e\+03.* take bf16"
    ):
        to_half(program, "fp16", ranges)
    small = graph_of(
        "a = MatMul(x, w)\nb = MatMul(a, v)\ny = MatMul(b, u)", w=WEIGHT, v=SQUARE, u=np.tile(SQUARE, (1, 8))
    )
    made = to_half(small, "fp16", {**ranges, "a": 1.0, "x": 20000.0})
    assert len(float_layers(made)) == 1
    assert (types(made)["a"], types(made)["b"]) == (ir.DataType.FLOAT, ir.DataType.FLOAT16)


def test_a_constant_that_would_become_zero_or_infinite_stays_float32():
    for constant in (1e-12, 3e38):
        made = to_half(graph_of("a = MatMul(x, w)\ny = Add(a, c)", w=WEIGHT, c=constant), "fp16", RANGES)
        assert types(made)["y"] == ir.DataType.FLOAT


def test_sums_of_computed_values_are_float32_where_half_reaches_less_far():
    program = graph_of(
        "a = MatMul(x, w)\nb = Add(a, c)\nd = MatMul(b, v)\ny = Add(d, b)", w=WEIGHT, v=SQUARE, c=SQUARE[0]
    )
    found = {
        reach: types(to_half(program, "fp16", {**RANGES, "d": 10.0}, reach)) for reach in ("all", "no_sums", "weights")
    }
    names = {reach: {name for name in "abd" if kinds[name] == ir.DataType.FLOAT16} for reach, kinds in found.items()}
    assert names == {"all": {"a", "b", "d"}, "no_sums": {"a", "b", "d"}, "weights": {"a", "d"}}
    assert "y/half" in found["all"]
    assert "y/half" not in found["no_sums"]


@pytest.mark.parametrize(("name", "dtype"), [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_an_emulated_graph_rounds_every_half_result(name: HalfName, dtype: type, run: Run):
    made = emulate(to_half(graph_of(BODY, w=WEIGHT, v=SQUARE), name, RANGES))

    def half(array: np.ndarray) -> np.ndarray:
        return array.astype(dtype).astype(np.float32)

    hidden = np.maximum(half(half(TEXTS) @ half(WEIGHT)), 0)
    weights = np.exp(hidden - hidden.max(axis=-1, keepdims=True))
    wanted = half(half(weights / weights.sum(axis=-1, keepdims=True)) @ half(SQUARE))
    for optimized in (True, False):
        (found,) = run(made, TEXTS, optimized=optimized)
        np.testing.assert_allclose(found, wanted, atol=3e-3 if name == "fp16" else 2e-2)
        np.testing.assert_array_equal(found, half(found))
    assert [str(value.name) for value in rounded_values(made)][:2] == ["x", "a"]


def test_an_emulated_graph_overflows_where_the_type_does(run: Run):
    program = graph_of("a = MatMul(x, w)\nb = Relu(a)\ny = Mul(b, c)", w=WEIGHT, c=np.float32(1e-3))
    made = emulate(to_half(program, "fp16", RANGES))
    assert np.isinf(run(made, 1e5 * TEXTS)[0]).any()
    assert np.isfinite(run(made, TEXTS)[0]).all()
