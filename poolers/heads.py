"""What follows pooling, as traced into the graph: Dense stack, LayerNorm, classifier, activation (torch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from .errors import ConfigError
from .spec import Activation, HeadStep

_NORM_EPS = 1e-12  # F.normalize's default; vLLM and sentence-transformers use it too

DENSE_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "sigmoid": torch.sigmoid,
}


def normalize(vectors: Tensor) -> Tensor:
    """Scale the last dimension to unit L2 norm; a zero vector stays zero."""
    return nn.functional.normalize(vectors, p=2.0, dim=-1, eps=_NORM_EPS)


ACTIVATION_FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "normalize": normalize,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: torch.softmax(x, dim=-1),
    "tanh": torch.tanh,
}


class Step(nn.Module):
    """One ``HeadStep`` with its weights, in float32; works on ``[..., in_features]``."""

    def __init__(self, step: HeadStep, weights: Mapping[str, Tensor]) -> None:
        """Build the step.

        Args:
            step: what to build.
            weights: the module's own tensors, under sentence-transformers' names
                (``linear.weight``, ``norm.weight``) or bare ones (``weight``).

        Raises:
            ConfigError: a tensor is missing or has another shape than the step declares.
        """
        super().__init__()
        self.kind = step.kind
        self.function = DENSE_FUNCTIONS[step.activation]
        if step.kind == "normalize":
            self.layer: nn.Module = nn.Identity()
            return
        size_in, size_out = step.in_features, step.out_features
        if size_in is None or size_out is None:
            raise ConfigError(f"{step.path}: {step.kind} needs its sizes in config.json")
        self.layer = nn.Linear(size_in, size_out, bias=step.bias) if step.kind == "dense" else nn.LayerNorm(size_in)
        _load(self.layer, step, weights)
        self.layer.to(torch.float32)

    def forward(self, vectors: Tensor) -> Tensor:
        """Apply the step along the last dimension."""
        if self.kind == "normalize":
            return normalize(vectors)
        return self.function(self.layer(vectors))


def _load(layer: nn.Module, step: HeadStep, weights: Mapping[str, Tensor]) -> None:
    found: dict[str, Tensor] = {}
    for name, parameter in layer.named_parameters():
        candidates = [key for key in weights if key == name or key.endswith("." + name)]
        if len(candidates) != 1:
            raise ConfigError(f"{step.path}: expected one tensor named `{name}`, found {sorted(weights)}")
        tensor = weights[candidates[0]]
        if tensor.shape != parameter.shape:
            raise ConfigError(
                f"{step.path}: `{name}` must have shape {tuple(parameter.shape)}, got {tuple(tensor.shape)}"
            )
        found[name] = tensor
    extra = len(weights) - len(found)
    if extra:
        raise ConfigError(
            f"{step.path}: {extra} tensor(s) left unused among {sorted(weights)}; check `bias` in config.json"
        )
    layer.load_state_dict(found)


def calibrate(logits: Tensor, mean: float | None, sigma: float | None) -> Tensor:
    """Apply vLLM's calibration ``(x - mean) / sigma``; ``None`` leaves that part out."""
    if mean is not None:
        logits = logits - mean
    if sigma is not None:
        logits = logits / sigma
    return logits
