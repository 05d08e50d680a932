"""Weights of sentence-transformers modules, read without torch."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

from ...poolers.parts import HeadStep
from ..errors import SourceError
from ..source import Source


def step_arrays(source: Source, step: HeadStep) -> dict[str, np.ndarray]:
    """Read a module's tensors as float32, under bare names (``weight``, ``bias``).

    Raises:
        SourceError: no safetensors file, or tensors other than the step declares.
    """
    path = source.folder / step.path / "model.safetensors"
    if not path.is_file():
        pickled = path.with_name("pytorch_model.bin")
        found = f"only {pickled.name}, which cannot be read without torch" if pickled.is_file() else "no weights"
        raise SourceError(f"{path.parent} has {found}; its {step.kind} needs model.safetensors")
    try:
        tensors = load_file(path)
    except Exception as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    arrays = {name.rsplit(".", 1)[-1]: tensor.astype(np.float32) for name, tensor in tensors.items()}
    wanted = _shapes(step)
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != wanted or len(arrays) != len(tensors):
        raise SourceError(f"{path} holds {shapes}, expected {wanted} for its {step.kind}")
    return arrays


def _shapes(step: HeadStep) -> dict[str, tuple[int | None, ...]]:
    if step.kind == "layer_norm":
        return {"weight": (step.in_features,), "bias": (step.in_features,)}
    shapes: dict[str, tuple[int | None, ...]] = {"weight": (step.out_features, step.in_features)}
    return shapes | ({"bias": (step.out_features,)} if step.bias else {})
