"""Value heads of reward models, read from a checkpoint's own tensors where no class of transformers has them.

Known by the names and shapes of their tensors: InternLM2's ``v_head``, Eurus' and UltraRM's ``regression_head``,
trl's ``v_head.summary``, Qwen2.5-Math-RM's and -PRM's ``score.0`` and ``score.2`` with a ReLU between. The backbone is
transformers' own, so that the checkpoint's Python code need not run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from .errors import SourceError

# Modules of that name which are one Linear, or hold it as `summary`.
LINEAR_HEADS: tuple[str, ...] = ("v_head", "value_head", "regression_head", "reward_head")

# Architectures whose `score` is Linear, ReLU, Linear: a nameless function between two layers is not guessed.
RELU_SCORES: frozenset[str] = frozenset({"Qwen2ForRewardModel", "Qwen2ForProcessRewardModel"})

Tensors = dict[str, Tensor]


class ValueModel(nn.Module):
    """A transformers backbone with a value head as its ``score``; has what a PreTrainedModel is asked for here."""

    def __init__(self, base_model: PreTrainedModel, score: nn.Module) -> None:
        """Compose the two."""
        super().__init__()
        self.base_model = base_model
        self.score = score
        self.config = base_model.config

    def get_input_embeddings(self) -> nn.Module:
        """Return the backbone's token embeddings."""
        found: nn.Module = self.base_model.get_input_embeddings()
        return found


def value_head_tensors(folder: Path, architecture: str) -> list[Tensors]:
    """Read a checkpoint's value head.

    Args:
        folder: where the weights lie.
        architecture: the class that ``config.json`` names.

    Returns:
        One mapping (``weight``, perhaps ``bias``) a Linear layer, in float32, with a ReLU between two; empty where
        there is no such head.

    Raises:
        SourceError: a head of one of those names with tensors that are not a Linear layer's.
    """
    found = head_tensors(folder)
    for name in LINEAR_HEADS:
        own = {key.removeprefix(f"{name}."): value for key, value in found.items() if key.startswith(f"{name}.")}
        own = {key.removeprefix("summary."): value for key, value in own.items()}
        if own:
            return [_linear(folder, name, own)]
    score = {key.removeprefix("score."): value for key, value in found.items() if key.startswith("score.")}
    if architecture not in RELU_SCORES or "0.weight" not in score:
        return []
    layers = {key: {k.split(".")[1]: v for k, v in score.items() if k.split(".")[0] == key} for key in ("0", "2")}
    if sum(map(len, layers.values())) != len(score):
        raise SourceError(f"{folder}: `score` must be Linear, ReLU, Linear, got the tensors {sorted(score)}")
    return [_linear(folder, f"score.{key}", layers[key]) for key in ("0", "2")]


def value_head(tensors: list[Tensors]) -> nn.Module:
    """Build the head from ``value_head_tensors``."""
    layers: list[nn.Module] = []
    for own in tensors:
        size_out, size_in = own["weight"].shape
        layer = nn.Linear(size_in, size_out, bias="bias" in own)
        layer.load_state_dict(own)
        layers.extend([layer] if not layers else [nn.ReLU(), layer])
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def head_tensors(folder: Path) -> Tensors:
    """Read the tensors of every top-level module with a head's name, as the checkpoint holds them."""
    return dict(_head_tensors(folder))


def _linear(folder: Path, name: str, own: Tensors) -> Tensors:
    if set(own) - {"weight", "bias"} or "weight" not in own or own["weight"].ndim != 2:
        shapes = {key: tuple(value.shape) for key, value in own.items()}
        raise SourceError(f"{folder}: `{name}` must be one Linear layer, got the tensors {shapes}")
    return {key: value.to(torch.float32) for key, value in own.items()}


def _is_head(key: str) -> bool:
    return key.split(".", 1)[0] in (*LINEAR_HEADS, "score")


def _head_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors of top-level modules with a head's name; the others stay on disk where the format allows it."""
    for file in _weight_files(folder):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118  (no mapping)
                    if _is_head(key):
                        yield key, tensors.get_tensor(key)
        else:
            loaded: Mapping[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            yield from ((key, value) for key, value in loaded.items() if _is_head(key))


def _weight_files(folder: Path) -> list[Path]:
    """The files that hold a head, in the one format that transformers would read."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            placed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return [folder / file for file in sorted({file for key, file in placed.items() if _is_head(key)})]
    return []
