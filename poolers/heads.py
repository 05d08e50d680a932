"""What follows pooling, as traced into the graph: Dense stack, LayerNorm, classifier, activation (torch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from .errors import ConfigError
from .parts import HeadStep
from .spec import Activation

_NORM_EPS = 1e-12  # F.normalize's default; vLLM and sentence-transformers use it too

DENSE_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "sigmoid": torch.sigmoid,
    "celu": nn.functional.celu,
    "elu": nn.functional.elu,
    "gelu_tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
    "hardshrink": nn.functional.hardshrink,
    "hardsigmoid": nn.functional.hardsigmoid,
    "hardswish": nn.functional.hardswish,
    "hardtanh": nn.functional.hardtanh,
    "laplace": lambda x: 0.5 * (1.0 + torch.erf((x - 0.707107) / (0.282095 * 2**0.5))),
    "leaky_relu": nn.functional.leaky_relu,
    "log_sigmoid": nn.functional.logsigmoid,
    "log_softmax": lambda x: torch.log_softmax(x, dim=-1),
    "mish": nn.functional.mish,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu6": nn.functional.relu6,
    "relu_squared": lambda x: torch.relu(x).square(),
    "rrelu": lambda x: nn.functional.leaky_relu(x, (1 / 8 + 1 / 3) / 2),  # at inference: the mean of its slopes
    "selu": nn.functional.selu,
    "softmax": lambda x: torch.softmax(x, dim=-1),
    "softmin": lambda x: torch.softmax(-x, dim=-1),
    "softplus": nn.functional.softplus,
    "softshrink": nn.functional.softshrink,
    "softsign": nn.functional.softsign,
    "tanhshrink": nn.functional.tanhshrink,
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
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
}


class Step(nn.Module):
    """One ``HeadStep`` with its weights, in float32; works on ``[..., in_features]``."""

    def __init__(self, step: HeadStep, weights: Mapping[str, Tensor]) -> None:
        """Build the step.

        Args:
            step: what to build.
            weights: the module's own tensors, under sentence-transformers' names
                (``linear.weight``, ``norm.weight``, ``residual.weight``) or bare ones (``weight``).

        Raises:
            ConfigError: a tensor is missing or has another shape than the step declares.
        """
        super().__init__()
        self.kind = step.kind
        self.function = DENSE_FUNCTIONS[step.activation]
        self.residual: nn.Module | None = None
        if step.kind == "normalize":
            self.layer: nn.Module = nn.Identity()
            return
        size_in, size_out = step.in_features, step.out_features
        if size_in is None or size_out is None:
            raise ConfigError(f"{step.path}: {step.kind} needs its sizes in config.json")
        self.layer = nn.Linear(size_in, size_out, bias=step.bias) if step.kind == "dense" else nn.LayerNorm(size_in)
        if step.residual:
            self.residual = nn.Identity() if size_in == size_out else nn.Linear(size_in, size_out, bias=False)
            own = {key: value for key, value in weights.items() if key.startswith("residual.")}
            weights = {key: value for key, value in weights.items() if key not in own}
            _load(self.residual, step, own)
        _load(self.layer, step, weights)
        self.to(torch.float32)

    def forward(self, vectors: Tensor) -> Tensor:
        """Apply the step along the last dimension."""
        if self.kind == "normalize":
            return normalize(vectors)
        result = self.function(self.layer(vectors))
        return result if self.residual is None else result + self.residual(vectors)


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
