from __future__ import annotations

import numpy as np

from pool_export.export.precision.linear import find_linears, weights_of

from .conftest import graph_of

WEIGHT = np.arange(4 * 32, dtype=np.float32).reshape(4, 32)


def test_layers_that_read_one_value_are_a_group():
    program = graph_of("a = MatMul(x, w)\nb = MatMul(x, v)\ny = Add(a, b)", w=WEIGHT, v=-WEIGHT)
    (group,) = find_linears(program)
    assert group.name == "x"
    np.testing.assert_array_equal(group.weight, np.concatenate([WEIGHT, -WEIGHT], axis=1))
    assert weights_of([group]) == 2 * WEIGHT.size


def test_a_gemm_is_a_layer_with_its_bias_and_its_weight_the_other_way_round():
    program = graph_of("y = Gemm<transB=1>(x, w, c)", w=WEIGHT.T, c=np.ones(32))
    (group,) = find_linears(program)
    np.testing.assert_array_equal(group.weight, WEIGHT)
    assert group.layers[0].bias is not None
    assert find_linears(graph_of("y = Gemm<alpha=2.0>(x, w, c)", w=WEIGHT, c=np.ones(32))) == []


def test_products_of_two_computed_values_the_head_and_small_layers_are_left_out():
    assert find_linears(graph_of("a = Sigmoid(x)\ny = MatMul(x, a)")) == []
    assert find_linears(graph_of("y = MatMul(x, w)", w=WEIGHT[:, :15])) == []
    program = graph_of("y = MatMul(x, w)", w=WEIGHT)
    program.graph[0].metadata_props["namespace"] = ": x.AdaptedModel/pooler: pool_export.poolers.pooler.Pooler/mm"
    assert find_linears(program) == []


def test_a_layer_of_one_row_a_text_is_left_out():
    program = graph_of("y = MatMul(x, w)", w=WEIGHT)
    program.graph.inputs[0].shape = type(program.graph.inputs[0].shape)(["batch_size", 4])
    assert find_linears(program) == []


def test_the_marker_of_the_head_is_the_class_that_computes_it():
    from pool_export.export.precision.linear import _HEAD
    from pool_export.poolers.pooler import Pooler

    assert f"{Pooler.__module__}.{Pooler.__qualname__}" == _HEAD
