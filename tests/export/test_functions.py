"""The reference's functions: by hand, and against torch in float64."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from pool_export.export.functions import FUNCTIONS
from pool_export.poolers.heads import ACTIVATION_FUNCTIONS, DENSE_FUNCTIONS
from pool_export.poolers.st_activations import TORCH_CLASSES, TRANSFORMERS_CLASSES, class_path

GRID = np.concatenate([np.linspace(-9, 9, 361).reshape(19, 19), np.full((1, 19), 30.0), np.full((1, 19), -30.0)])

# PytorchGELUTanh is the name of GELUTanh in transformers 4.
PATHS = [(class_path(name), name) for name in TORCH_CLASSES.values()] + [
    (f"transformers.activations.{kind}", name)
    for kind, name in TRANSFORMERS_CLASSES.items()
    if kind != "PytorchGELUTanh"
]


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize(("path", "name"), PATHS)
def test_every_class_in_float64(path: str, name: str):
    module, kind = path.rsplit(".", 1)
    function = getattr(importlib.import_module(module), kind)().eval()
    wanted = function(torch.from_numpy(GRID)).numpy()
    # Above 20 torch takes x for log(1 + exp(x)): 2e-9 there at most, times x in Mish.
    np.testing.assert_allclose(FUNCTIONS[name](GRID), wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", DENSE_FUNCTIONS)
def test_the_graphs_function_is_the_same(name: str):
    found = DENSE_FUNCTIONS[name](torch.from_numpy(GRID).float()).numpy()
    np.testing.assert_allclose(found, FUNCTIONS[name](GRID.astype(np.float32).astype(np.float64)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("identity", -2.0, -2.0),
        ("tanh", 0.5, 0.46211715726000975),
        ("relu", -2.0, 0.0),
        ("relu", 2.0, 2.0),
        ("gelu", 1.0, 0.8413447460685429),
        ("silu", 1.0, 0.7310585786300049),
        ("sigmoid", -1.0, 0.2689414213699951),
    ],
)
def test_functions_by_hand(name: str, value: float, wanted: float):
    assert FUNCTIONS[name](np.array([value]))[0] == pytest.approx(wanted, abs=1e-12)


def test_softmax_and_unit_length_by_hand():
    np.testing.assert_allclose(FUNCTIONS["softmax"](np.log([1.0, 3.0]) + 1000), [0.25, 0.75], rtol=1e-12)
    np.testing.assert_allclose(FUNCTIONS["normalize"](np.array([3.0, -4.0])), [0.6, -0.8], rtol=1e-12)
    np.testing.assert_array_equal(FUNCTIONS["normalize"](np.zeros(3)), np.zeros(3))


def test_every_function_of_the_graph_has_a_counterpart():
    assert set(DENSE_FUNCTIONS) | set(ACTIVATION_FUNCTIONS) == set(FUNCTIONS)
