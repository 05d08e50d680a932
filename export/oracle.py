"""What every oracle of the parity gate shares: pooling by definition, in float64 numpy (functions: ``functions.py``).

Torch-free, because an adopted graph is verified where torch is not installed. Each pooling takes one text's
states ``[num_tokens, hidden]``: no mask, no padding, no batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..poolers.spec import PoolingType

Array = np.ndarray


class Oracle(Protocol):
    """Answers one text at a time; what the graph is compared with."""

    def outputs(
        self, ids: Sequence[int], type_ids: Sequence[int], *, unattended: int = 0, prompt_length: int = 0
    ) -> dict[str, Array]:
        """Compute every output of the graph contract for one unpadded text, float64, without the batch axis."""


def _weighted(states: Array, before: int) -> Array:
    """Weigh token i by i; ``before`` tokens of a prompt were counted and are not among the states."""
    result: Array = np.average(states, axis=0, weights=np.arange(before + 1, before + len(states) + 1))
    return result


POOLED: dict[PoolingType, Callable[[Array], Array]] = {
    "LAST": lambda states: states[-1],
    "CLS": lambda states: states[0],
    "MEAN": lambda states: states.mean(axis=0),
    "MAX": lambda states: states.max(axis=0),
    "MEAN_SQRT_LEN": lambda states: states.sum(axis=0) / np.sqrt(len(states)),
    "WEIGHTED_MEAN": lambda states: _weighted(states, 0),
    "ALL": lambda states: states,
    "STEP": lambda states: states,
}


def pooled(states: Array, pooling: Sequence[PoolingType], before: int = 0) -> Array:
    """Pool one text's states; several results are concatenated.

    Args:
        states: ``[num_tokens, hidden]``, those that take part.
        pooling: the pooling types.
        before: tokens of a prompt in front of them, which do not.
    """
    parts = [_weighted(states, before) if kind == "WEIGHTED_MEAN" else POOLED[kind](states) for kind in pooling]
    result: Array = np.concatenate(parts, axis=-1)
    return result
