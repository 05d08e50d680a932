"""Steps after pooling: against sentence-transformers' own modules, and by hand."""

from __future__ import annotations

import importlib

import pytest
import torch
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.sentence_transformer.modules.layer_norm import LayerNorm

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.heads import ACTIVATION_FUNCTIONS, DENSE_FUNCTIONS, Step, calibrate, normalize
from pool_export.poolers.spec import ACTIVATIONS, HeadStep
from pool_export.poolers.st_modules import DENSE_ACTIVATIONS

DENSE = HeadStep(kind="dense", path="2_Dense", in_features=2, out_features=3)
WEIGHT = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
BIAS = torch.tensor([0.5, 0.0, -1.0])


def assert_close(found, expected, atol=1e-6):
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=0, atol=atol)


def vectors(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def torch_class(path):
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


# ----------------------------------------------------------------------------- against sentence-transformers


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("path", "name"), DENSE_ACTIVATIONS.items(), ids=DENSE_ACTIVATIONS.values())
def test_dense_is_the_librarys(path, name, bias):
    theirs = Dense(8, 5, bias=bias, activation_function=torch_class(path)())
    ours = Step(
        HeadStep(kind="dense", path="2_Dense", in_features=8, out_features=5, bias=bias, activation=name),
        theirs.state_dict(),
    )
    x = vectors(4, 8)
    assert_close(ours(x), theirs({"sentence_embedding": x})["sentence_embedding"])


def test_layer_norm_is_the_librarys():
    theirs = LayerNorm(8)
    torch.nn.init.normal_(theirs.norm.weight, generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(theirs.norm.bias, generator=torch.Generator().manual_seed(2))
    ours = Step(HeadStep(kind="layer_norm", path="3_LayerNorm", in_features=8, out_features=8), theirs.state_dict())
    x = vectors(4, 8)
    assert_close(ours(x), theirs({"sentence_embedding": x})["sentence_embedding"])


def test_normalize_is_the_librarys():
    x = torch.cat([vectors(4, 8), torch.zeros(1, 8), torch.full((1, 8), 1e-20)])
    expected = Normalize()({"sentence_embedding": x})["sentence_embedding"]
    assert_close(Step(HeadStep(kind="normalize"), {})(x), expected)
    assert_close(normalize(x), expected)


def test_every_activation_a_dense_config_may_name_has_its_function():
    assert set(DENSE_FUNCTIONS) == set(DENSE_ACTIVATIONS.values())


# ------------------------------------------------------------------------------------------------- by hand


def test_dense_by_hand():
    step = Step(DENSE, {"linear.weight": WEIGHT, "linear.bias": BIAS})
    assert_close(step(torch.tensor([[2.0, -3.0]])), [[2.5, -3.0, -2.0]])


def test_a_step_works_on_every_token_alike():
    step = Step(DENSE, {"linear.weight": WEIGHT, "linear.bias": BIAS})
    tokens = vectors(2, 4, 2)
    assert step(tokens).shape == (2, 4, 3)
    assert_close(step(tokens)[1, 2], step(tokens[1, 2]))


@pytest.mark.parametrize("prefix", ["", "linear.", "dense.", "0.linear."])
def test_weights_are_found_under_any_prefix(prefix):
    step = Step(DENSE, {prefix + "weight": WEIGHT, prefix + "bias": BIAS})
    assert_close(step(torch.tensor([[1.0, 1.0]])), [[1.5, 1.0, 1.0]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_dtype_become_float32(dtype):
    step = Step(DENSE, {"weight": WEIGHT.to(dtype), "bias": BIAS.to(dtype)})
    assert {parameter.dtype for parameter in step.parameters()} == {torch.float32}
    assert step(torch.ones(1, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("step", "weights", "message"),
    [
        (DENSE, {}, r"2_Dense: expected one tensor named `weight`, found \[\]"),
        (DENSE, {"linear.weight": WEIGHT}, r"expected one tensor named `bias`, found \['linear.weight'\]"),
        (DENSE, {"a.weight": WEIGHT, "b.weight": WEIGHT, "bias": BIAS}, "expected one tensor named `weight`"),
        (DENSE, {"weight": WEIGHT.T, "bias": BIAS}, r"`weight` must have shape \(3, 2\), got \(2, 3\)"),
        (
            HeadStep(kind="dense", path="2_Dense", in_features=2, out_features=3, bias=False),
            {"weight": WEIGHT, "bias": BIAS},
            r"1 tensor\(s\) left unused among \['bias', 'weight'\]; check `bias` in config.json",
        ),
        (HeadStep(kind="dense", path="2_Dense"), {}, "2_Dense: dense needs its sizes in config.json"),
        (HeadStep(kind="layer_norm", path="3_LayerNorm", in_features=2), {}, "layer_norm needs its sizes"),
    ],
)
def test_weights_that_do_not_fit_are_refused(step, weights, message):
    with pytest.raises(ConfigError, match=message):
        Step(step, weights)


@pytest.mark.parametrize(
    ("activation", "values", "expected"),
    [
        ("identity", [3.0, -4.0], [3.0, -4.0]),
        ("normalize", [3.0, -4.0], [0.6, -0.8]),
        ("normalize", [0.0, 0.0], [0.0, 0.0]),
        ("sigmoid", [0.0, 1.0986123], [0.5, 0.75]),
        ("softmax", [0.0, 1.0986123], [0.25, 0.75]),
        ("softmax", [1000.0, 1000.0], [0.5, 0.5]),
        ("softmax", [7.0], [1.0]),
        ("tanh", [0.0, 0.5493061], [0.0, 0.5]),
    ],
)
def test_every_activation_by_hand(activation, values, expected):
    assert_close(ACTIVATION_FUNCTIONS[activation](torch.tensor(values)), expected)


def test_every_activation_has_a_function():
    assert set(ACTIVATION_FUNCTIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize(
    ("mean", "sigma", "expected"),
    [
        (None, None, [3.0, -1.0]),
        (1.0, None, [2.0, -2.0]),
        (None, 2.0, [1.5, -0.5]),
        (1.0, 2.0, [1.0, -1.0]),
        (0.0, 1.0, [3.0, -1.0]),
    ],
)
def test_calibration_subtracts_and_then_divides(mean, sigma, expected):
    assert_close(calibrate(torch.tensor([3.0, -1.0]), mean, sigma), expected)
