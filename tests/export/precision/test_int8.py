"""The rewritten graph against the same arithmetic in numpy."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pool_export.export.precision.int8 import plan, quantize
from pool_export.export.precision.linear import find_linears
from pool_export.export.precision.rounding import Scheme, round_rows, round_weight

from .conftest import Run, graph_of

GENERATOR = np.random.default_rng(0)
WEIGHT = GENERATOR.normal(size=(4, 32)).astype(np.float32)
BIAS = GENERATOR.normal(size=32).astype(np.float32)
TEXTS = GENERATOR.normal(size=(3, 5, 4)).astype(np.float32)
DIVISORS = np.float32([4, 1, 0.5, 0.5])
BODY = "a = MatMul(x, w)\ny = Add(a, c)"


def by_hand(x: np.ndarray, weight: np.ndarray, divisors: np.ndarray) -> np.ndarray:
    integers, scale = round_weight(weight * divisors[:, None])
    rows = x.reshape(-1, x.shape[-1]) / divisors
    return (round_rows(rows) @ (integers * scale)).reshape(*x.shape[:-1], -1)


def test_a_layer_computes_what_numpy_computes(run: Run):
    made = quantize(graph_of(BODY, w=WEIGHT, c=BIAS), {"x": Scheme(DIVISORS, 0.0)})
    for optimized in (True, False):
        (found,) = run(made, TEXTS, optimized=optimized)
        np.testing.assert_allclose(found, by_hand(TEXTS, WEIGHT, DIVISORS) + BIAS, atol=1e-5)


def test_a_gemm_keeps_its_bias_outside_of_the_rows_scale(run: Run):
    program = graph_of("y = Gemm<transB=1>(x, w, c)", w=WEIGHT.T, c=BIAS)
    program.graph.inputs[0].shape = ir.Shape(["rows", 4])
    made = quantize(program, {"x": Scheme(np.ones(4, np.float32), 0.0)})
    (found,) = run(made, TEXTS[0])
    np.testing.assert_allclose(found, by_hand(TEXTS[0], WEIGHT, np.ones(4)) + BIAS, atol=1e-5)


@pytest.mark.parametrize("function", ["Relu", "Gelu", "Sigmoid", "Tanh"])
def test_what_a_function_answers_is_rounded_by_its_rows_too(function: str, run: Run):
    """Some functions are known not to go far below zero, so their least value is not looked for."""
    program = graph_of(f"s = {function}(x)\ny = MatMul(s, w)", w=WEIGHT)
    program.graph[0].outputs[0].shape = ir.Shape(["batch_size", "sequence_length", 4])
    x = 3 * TEXTS
    values = run(graph_of(f"s = {function}(x)\ny = MatMul(s, w)", w=np.eye(4, 32)), x)[0][..., :4]
    made = quantize(program, {"s": Scheme(np.ones(4, np.float32), 0.0)})
    assert ("ReduceMin" in [node.op_type for node in made.graph]) == (function == "Tanh")
    beyond = values.max(axis=-1) > 0.17  # else the row is rounded by that bound
    assert beyond.sum() >= 10
    np.testing.assert_allclose(run(made, x)[0][beyond], by_hand(values, WEIGHT, np.ones(4))[beyond], atol=1e-5)


def test_no_row_depends_on_another(run: Run):
    made = quantize(graph_of(BODY, w=WEIGHT, c=BIAS), {"x": Scheme(DIVISORS, 0.0)})
    beside = np.concatenate([TEXTS, 1000 * TEXTS[:1], 0 * TEXTS[:1]])
    (together,) = run(made, beside)
    for index, text in enumerate(beside):
        np.testing.assert_array_equal(run(made, text[None])[0][0], together[index])
    np.testing.assert_array_equal(together[-1], np.broadcast_to(BIAS, (5, 32)))


def test_one_rounding_serves_all_layers_that_read_a_value_and_operators_are_of_the_standard():
    program = graph_of("a = MatMul(x, w)\nb = MatMul(x, v)\ny = Add(a, b)", w=WEIGHT, v=-WEIGHT)
    made = quantize(program, {"x": Scheme(np.ones(4, np.float32), 0.0)})
    kinds = [node.op_type for node in made.graph]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("MatMul") == 2
    assert "Mul" in kinds
    assert {node.domain for node in made.graph} == {""}
    assert [node.op_type for node in program.graph] == ["MatMul", "MatMul", "Add"]  # as it was
    types = {value.dtype for node in made.graph for value in node.outputs}
    assert types == {ir.DataType.FLOAT, ir.DataType.UINT8}


def test_an_output_of_the_graph_keeps_its_name(run: Run):
    made = quantize(graph_of("y = MatMul(x, w)", w=WEIGHT), {"x": Scheme(np.ones(4, np.float32), 0.0)})
    assert [value.name for value in made.graph.outputs] == ["y"]
    np.testing.assert_allclose(run(made, TEXTS)[0], by_hand(TEXTS, WEIGHT, np.ones(4)), atol=1e-5)


def test_a_group_without_a_scheme_stays_as_it_is(run: Run):
    (found,) = run(quantize(graph_of(BODY, w=WEIGHT, c=BIAS), {}), TEXTS)
    np.testing.assert_allclose(found, TEXTS @ WEIGHT + BIAS, atol=1e-5)


def test_a_plan_states_the_error_of_each_group():
    program = graph_of(BODY, w=WEIGHT, c=BIAS)
    rows = GENERATOR.normal(size=(400, 4)).astype(np.float32)
    schemes = plan(find_linears(program), {"x": rows})
    change = by_hand(rows, WEIGHT, schemes["x"].divisors) - rows @ WEIGHT
    spread = (rows @ WEIGHT).std(axis=0)
    np.testing.assert_allclose(schemes["x"].error, np.sqrt((change**2).sum(1).mean() / (spread**2).sum()), rtol=0.1)
