"""Random weights under which different texts give visibly different outputs.

A freshly initialised model (standard deviation 0.02, unit norms, zero biases) answers nearly the
same vector to every text, and hides mistakes in padding, positions and norms. These do not.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import torch
from torch import nn

_WORD_STD = 0.4
# Part of an embedding's name -> standard deviation. Positions and segments are the same for every
# text: more of them, and all texts look alike.
_EMBEDDING_STD = {"position": 0.08, "token_type": 0.04, "relative_attention_bias": 0.5}
# Above 1 attention is sharp enough to tell texts apart; near 2 rounding errors start to grow.
_MATRIX_GAIN = 1.6
_NORM_STD = 0.1
_BIAS_STD = 0.03


def randomize(model: nn.Module, *, seed: int, gains: Mapping[str, float] | None = None) -> None:
    """Overwrite every trainable parameter in place; the values depend on ``seed`` and the parameter's name only.

    Embeddings (the padding row too, so that a leak shows) and matrices are drawn anew; vectors
    (norms, biases) keep their initial value plus a small jitter.

    Args:
        model: a model as transformers initialised it.
        seed: chooses the weights.
        gains: part of a parameter's name -> factor on its standard deviation.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    convolutions = {id(module.weight) for module in model.modules() if isinstance(module, nn.Conv1d)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:  # RoFormer's sinusoids are computed, not learnt
                continue
            factor = math.prod(gain for part, gain in (gains or {}).items() if part in name)
            # A generator per parameter: adding a head does not move the backbone's weights.
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim < 2:
                std = _BIAS_STD if name.endswith("bias") else _NORM_STD
                parameter.add_(factor * std * noise)
            elif id(parameter) in embeddings:
                std = next((value for part, value in _EMBEDDING_STD.items() if part in name), _WORD_STD)
                parameter.copy_(factor * std * noise)
            else:
                # Rows that sum to zero cancel what all units have in common (a ReLU's positive mean),
                # which would otherwise grow into one direction shared by all texts.
                if parameter.ndim == 2:
                    noise -= noise.mean(dim=1, keepdim=True)
                # Stacked matrices of experts are read along their last axis, a convolution along all but the first.
                inputs = parameter[0].numel() if id(parameter) in convolutions else parameter.shape[-1]
                parameter.copy_(factor * _MATRIX_GAIN / math.sqrt(inputs) * noise)
