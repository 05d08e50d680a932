from __future__ import annotations

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.st_activations import TORCH_CLASSES, TRANSFORMERS_CLASSES, class_path, parse_activation


@pytest.mark.parametrize(("name", "function"), TORCH_CLASSES.items())
def test_a_class_of_torch_by_its_long_and_its_short_path(name: str, function: str):
    assert parse_activation(class_path(function), "x") == function
    for owner in ("torch.nn", "torch.nn.modules", "torch.nn.modules.activation"):
        assert parse_activation(f"{owner}.{name}", "x") == function


@pytest.mark.parametrize(("name", "function"), TRANSFORMERS_CLASSES.items())
def test_a_class_of_transformers(name: str, function: str):
    assert parse_activation(f"transformers.activations.{name}", "x") == function


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("torch.nn.modules.activation.PReLU", "did you mean 'RReLU'|'ReLU'|'PReLU'"),
        ("torch.nn.modules.activation.Gelu", "expected one of: CELU, ELU, GELU, "),
        ("torch.nn.functional.tanh", "expected a class of torch.nn.modules.activation"),
        ("transformers.activations.ClippedGELUActivation", "did you mean '.*GELUActivation'"),
        ("my_code.Tanh", "expected a class of torch.nn.modules.activation"),
        ("Tanh", "expected a class of torch.nn.modules.activation"),
        ("", "activation_function '' is not supported"),
        (None, "activation_function None is not supported"),
        (["Tanh"], r"activation_function \['Tanh'\] is not supported"),
    ],
)
def test_anything_else_is_refused_with_its_file(path: object, hint: str):
    with pytest.raises(ConfigError, match=f"^2_Dense/config.json: .*{hint}"):
        parse_activation(path, "2_Dense/config.json")


def test_saved_paths_are_those_of_torch_where_it_has_the_class():
    assert class_path("identity") == "torch.nn.modules.linear.Identity"
    assert class_path("gelu", "transformers.activations.GELUActivation") == "torch.nn.modules.activation.GELU"
    own = "transformers.activations.QuickGELUActivation"
    assert class_path("quick_gelu", own) == own
