"""What two embeddings are worth to each other: the similarities a sentence-transformers checkpoint may name.

Distances are negated, so that more is nearer (sentence-transformers 6.2 ``util/similarity.py``).
vLLM always takes the cosine; here the checkpoint's own is used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_COSINE_EPS = 1e-8  # torch.nn.CosineSimilarity's default, which vLLM uses


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine similarity of two float32 vectors ``[dim]``."""
    norms = max(float(np.linalg.norm(left) * np.linalg.norm(right)), _COSINE_EPS)
    return float(np.dot(left, right)) / norms


SIMILARITY_FUNCTIONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "cosine": cosine,
    "dot": lambda left, right: float(np.dot(left, right)),
    "euclidean": lambda left, right: -float(np.linalg.norm(left - right)),
    "manhattan": lambda left, right: -float(np.abs(left - right).sum()),
}
