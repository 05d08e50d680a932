"""Pooling methods as traced into the graph: hidden states and a mask to pooled vectors (torch).

Every method takes ``hidden`` float32 ``[batch_size, sequence_length, hidden]`` and ``mask`` int64
``[batch_size, sequence_length]`` (1 = token, 0 = padding, on either side) and returns float32
``[batch_size, hidden]``; ``ALL`` and ``STEP`` return every token. What lies under the padding, NaN
included, never reaches a pooled vector; a row without a single token pools to zeros. Definitions:
sentence-transformers ``modules/pooling.py``; vLLM ``layers/pooler/seqwise/methods.py`` for LAST,
CLS, MEAN, ALL, STEP.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .spec import PoolingType

Method = Callable[[Tensor, Tensor], Tensor]

_MIN_COUNT = 1e-9  # sentence-transformers' guard against empty rows


def clear_padding(values: Tensor, mask: Tensor) -> Tensor:
    """Put zeros where ``values`` ``[batch_size, sequence_length, ...]`` belong to no token.

    A product with the mask would keep NaN, which attention gives to rows that see nothing.
    """
    return values.masked_fill(mask.unsqueeze(-1) == 0, 0.0)


def _gather(hidden: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    """Pick one position a row: ``index`` int64 ``[batch_size]`` -> ``[batch_size, hidden]``."""
    expanded = index.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
    return clear_padding(hidden.gather(1, expanded), mask.gather(1, index.unsqueeze(1))).squeeze(1)


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """CLS: the first real token (under left padding it is not at position 0)."""
    # int32: ArgMax has no int64 kernel in onnxruntime (onnxruntime#10068).
    return _gather(hidden, mask, mask.to(torch.int32).argmax(dim=1))


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """LAST: the last real token by the mask, whichever side the padding is on."""
    position = torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=torch.int32)
    return _gather(hidden, mask, (mask.to(torch.int32) * position).argmax(dim=1))


def _count(weights: Tensor) -> Tensor:
    """Sum ``weights`` int64 ``[batch_size, sequence_length]`` over the row, as float32 ``[batch_size, 1]``, never 0."""
    return weights.sum(dim=1, keepdim=True).to(torch.float32).clamp(min=_MIN_COUNT)


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """MEAN: the average over real tokens."""
    return clear_padding(hidden, mask).sum(dim=1) / _count(mask)


def mean_sqrt_len(hidden: Tensor, mask: Tensor) -> Tensor:
    """MEAN_SQRT_LEN: the sum over real tokens divided by the square root of their number."""
    return clear_padding(hidden, mask).sum(dim=1) / _count(mask).sqrt()


def weighted_mean(hidden: Tensor, mask: Tensor, counted: Tensor | None = None) -> Tensor:
    """WEIGHTED_MEAN: real token number i (from 1) weighs i (SGPT, arXiv 2202.08904).

    ``counted`` is the mask that numbers the tokens, where some of them stay out of the pool.
    """
    weights = (mask if counted is None else counted).cumsum(dim=1) * mask
    weighted = clear_padding(hidden, mask) * weights.unsqueeze(-1).to(torch.float32)
    return weighted.sum(dim=1) / _count(weights)


def maximum(hidden: Tensor, mask: Tensor) -> Tensor:
    """MAX: the largest value over real tokens, per feature; zeros for an empty row."""
    empty = mask.unsqueeze(-1) == 0
    pooled = hidden.masked_fill(empty, torch.finfo(torch.float32).min).amax(dim=1)
    return pooled.masked_fill(empty.all(dim=1), 0.0)


def every_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """ALL and STEP: all tokens; the host keeps the rows (STEP: by token id)."""
    return hidden


def splade(logits: Tensor, mask: Tensor, strategy: str = "max", function: str = "relu") -> Tensor:
    """SPLADE: ``log1p(relu(logits))`` pooled over real tokens; zeros for an empty row.

    The functions never fall, so the largest value is taken first and they see one row a text.

    Args:
        logits: of the masked language model, float32 ``[batch_size, sequence_length, vocabulary]``.
        mask: int64 ``[batch_size, sequence_length]``.
        strategy: ``max`` or ``sum``.
        function: ``relu``, or ``log1p_relu`` for log1p once more.
    """

    def weigh(values: Tensor) -> Tensor:
        weights = torch.log1p(torch.relu(values))
        return torch.log1p(weights) if function == "log1p_relu" else weights

    if strategy == "sum":
        return clear_padding(weigh(logits), mask).sum(dim=1)
    return weigh(maximum(logits, mask))


METHODS: dict[PoolingType, Method] = {
    "LAST": last_token,
    "CLS": first_token,
    "MEAN": mean,
    "ALL": every_token,
    "STEP": every_token,
    "MAX": maximum,
    "MEAN_SQRT_LEN": mean_sqrt_len,
    "WEIGHTED_MEAN": weighted_mean,
    "SPLADE": splade,
}


def pool(hidden: Tensor, mask: Tensor, pooling: tuple[PoolingType, ...], pooling_mask: Tensor | None = None) -> Tensor:
    """Apply one method, or concatenate several along the last dimension, in float32.

    Args:
        hidden: any float dtype, ``[batch_size, sequence_length, hidden]``.
        mask: int64 ``[batch_size, sequence_length]``.
        pooling: at least one pooling type.
        pooling_mask: int64, as ``mask``; 0 also where a token stays out of the pool (a prompt's).
            sentence-transformers' ``include_prompt=False``: first and last are those that remain, and
            WEIGHTED_MEAN goes on numbering behind the prompt.
    """
    states = hidden.to(torch.float32)
    kept = mask if pooling_mask is None else pooling_mask * mask
    parts = [
        weighted_mean(states, kept, mask) if kind == "WEIGHTED_MEAN" else METHODS[kind](states, kept)
        for kind in pooling
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
