"""Weights of Dense and LayerNorm modules, read without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from pool_export.export.adopt.weights import step_arrays
from pool_export.export.errors import SourceError
from pool_export.export.request import ExportRequest
from pool_export.export.source import Source, read_source
from pool_export.poolers.spec import HeadStep

DENSE = HeadStep(kind="dense", path="2_Dense", in_features=4, out_features=2)


@pytest.fixture
def source(toy: Callable[..., Path]) -> Source:
    folder = toy()
    (folder / "2_Dense").mkdir()
    return read_source(ExportRequest(model=str(folder)), folder, "")


def test_tensors_come_under_bare_names_as_float32(source: Source) -> None:
    tensors = {"linear.weight": torch.ones(2, 4, dtype=torch.bfloat16), "linear.bias": torch.zeros(2)}
    save_torch(tensors, source.folder / "2_Dense/model.safetensors")
    arrays = step_arrays(source, DENSE)
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == {
        "weight": ((2, 4), np.float32),
        "bias": ((2,), np.float32),
    }


def test_pickled_weights_are_refused_by_name(source: Source) -> None:
    with pytest.raises(SourceError, match=r"2_Dense has no weights; its dense needs model\.safetensors"):
        step_arrays(source, DENSE)
    (source.folder / "2_Dense/pytorch_model.bin").touch()
    with pytest.raises(SourceError, match=r"only pytorch_model\.bin, which cannot be read without torch"):
        step_arrays(source, DENSE)
    (source.folder / "2_Dense/model.safetensors").write_bytes(b"damaged")
    with pytest.raises(SourceError, match="cannot be read"):
        step_arrays(source, DENSE)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": np.ones((2, 4), np.float32)},
        {"weight": np.ones((4, 2), np.float32), "bias": np.ones(2, np.float32)},
        {
            "a.weight": np.ones((2, 4), np.float32),
            "b.weight": np.ones((2, 4), np.float32),
            "bias": np.ones(2, np.float32),
        },
    ],
    ids=["no bias", "transposed", "two weights"],
)
def test_tensors_that_the_module_does_not_declare(tensors: dict[str, np.ndarray], source: Source) -> None:
    save_file(tensors, source.folder / "2_Dense/model.safetensors")
    with pytest.raises(SourceError, match=r"expected .* for its dense"):
        step_arrays(source, DENSE)
