"""Sparse vectors on the host: from a graph's row to indices and weights, their top, and their products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..poolers.parts import SparseHead, SparseSimilarity
from .errors import InputError

Array = np.ndarray
Sparse = tuple[Array, Array]


def to_sparse(head: SparseHead, row: Array, ids: Sequence[int], max_active_dims: int | None = None) -> Sparse:
    """Return the non-zero weights of one text: indices int64 and values float32, both ``[k]``, by index.

    Args:
        head: which kind of row it is.
        row: ``[vocabulary]``, or a weight per token ``[num_tokens]``, of which each id's largest counts
            and special tokens' do not (FlagEmbedding ``_process_token_weights``).
        ids: the text's token ids.
        max_active_dims: keep the largest so many; ``None`` takes the checkpoint's own number.

    Raises:
        InputError: ``max_active_dims`` below 1.
    """
    if head.kind == "splade":
        indices = np.flatnonzero(row)
        values = row[indices]
    else:
        indices, where = np.unique(np.asarray(ids, dtype=np.int64), return_inverse=True)
        values = np.zeros(len(indices), dtype=np.float32)
        np.maximum.at(values, where, row)
        kept = (values > 0) & ~np.isin(indices, head.special_token_ids)
        indices, values = indices[kept], values[kept]
    return _largest(indices.astype(np.int64), values.astype(np.float32), max_active_dims or head.max_active_dims)


def check_max_active_dims(value: object) -> None:
    """Refuse what is no number of dimensions.

    Raises:
        InputError: not an integer of at least 1.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"max_active_dims must be 1 or more, got {value!r}")


def keep_largest(row: Array, most: int | None) -> Array:
    """Zero all but the ``most`` largest weights of a dense ``[vocabulary]`` row."""
    if most is None or np.count_nonzero(row) <= most:
        return row
    result = np.zeros_like(row)
    top = np.argsort(-row, kind="stable")[:most]
    result[top] = row[top]
    return result


def similarity(left: Sparse, right: Sparse, kind: SparseSimilarity) -> float:
    """Dot product of two sparse vectors, or their cosine (0 where one is empty)."""
    _, at_left, at_right = np.intersect1d(left[0], right[0], assume_unique=True, return_indices=True)
    product = float(np.dot(left[1][at_left].astype(np.float64), right[1][at_right].astype(np.float64)))
    if kind == "dot":
        return product
    norms = float(np.linalg.norm(left[1]) * np.linalg.norm(right[1]))
    return product / norms if norms else 0.0


def _largest(indices: Array, values: Array, most: int | None) -> Sparse:
    if most is None or len(indices) <= most:
        return indices, values
    top = np.sort(np.argsort(-values, kind="stable")[:most])
    return indices[top], values[top]
