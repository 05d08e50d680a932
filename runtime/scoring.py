"""Cardinality and arithmetic of ``score`` (vLLM ``entrypoints/score_utils.py``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..poolers.spec import PairFormat
from .errors import InputError
from .prompts import Prompt

_COSINE_EPS = 1e-8  # torch.nn.CosineSimilarity's default, which vLLM uses


def pair_up(queries: Sequence[str], documents: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of the pairs to score: 1:1, 1:N (the query is repeated) or N:N.

    Raises:
        InputError: any other cardinality.
    """
    if len(queries) == 1:
        return [(0, index) for index in range(len(documents))]
    if len(queries) == len(documents):
        return [(index, index) for index in range(len(documents))]
    raise InputError(
        f"Input lengths must be either 1:1, 1:N or N:N, got {len(queries)} queries and {len(documents)} documents"
    )


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine similarity of two float32 vectors ``[dim]``."""
    norms = max(float(np.linalg.norm(left) * np.linalg.norm(right)), _COSINE_EPS)
    return float(np.dot(left, right)) / norms


def pair_prompt(query: str, document: str, pair_format: PairFormat) -> Prompt:
    """One cross-encoder input: the tokenizer's own pair, or plain concatenation."""
    if pair_format == "concat":
        return Prompt(text=query + document)
    return Prompt(text=query, pair=document)
