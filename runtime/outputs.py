"""Results, shaped as vLLM's ``outputs.py`` has them, with numpy arrays instead of torch tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import RuntimeFailure

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class PoolingOutput:
    """``data``: float32, ``[dim]``, ``[num_labels]``, or ``[num_tokens, ...]`` for token tasks."""

    data: Array


@dataclass(frozen=True, eq=False)
class EmbeddingOutput:
    """One text's embedding. ``data`` is the array behind ``embedding``; float32 ``[dim]``."""

    data: Array

    @property
    def embedding(self) -> list[float]:
        """The vector as Python floats."""
        values: list[float] = self.data.tolist()
        return values

    @property
    def hidden_size(self) -> int:
        """Length of the vector."""
        return int(self.data.shape[0])

    def __repr__(self) -> str:
        """Show the size, not thousands of digits."""
        return f"EmbeddingOutput(hidden_size={self.hidden_size})"


@dataclass(frozen=True, eq=False)
class ClassificationOutput:
    """One text's class probabilities (raw calibrated logits when the activation was off)."""

    data: Array

    @property
    def probs(self) -> list[float]:
        """The values as Python floats."""
        values: list[float] = self.data.tolist()
        return values

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return int(self.data.shape[0])

    def __repr__(self) -> str:
        """Show the values: there are few."""
        return f"ClassificationOutput(probs={self.probs})"


@dataclass(frozen=True, eq=False)
class SparseEmbeddingOutput:
    """One text's weights per vocabulary entry, those that are not zero.

    Attributes:
        indices: int64 ``[k]``, ascending token ids.
        values: float32 ``[k]``.
        tokens: the same tokens, as the tokenizer spells them.
        size: width of the vector, 0 where only the ids are known (bge-m3).
    """

    indices: Array
    values: Array
    tokens: tuple[str, ...]
    size: int = 0

    @property
    def token_weights(self) -> dict[str, float]:
        """Token -> weight, the largest first."""
        order = np.argsort(-self.values, kind="stable")
        return {self.tokens[i]: float(self.values[i]) for i in order}

    def __repr__(self) -> str:
        """Show the number of weights, not all of them."""
        return f"SparseEmbeddingOutput({len(self.indices)} weights)"


@dataclass(frozen=True, eq=False)
class AllEmbeddingsOutput:
    """Every kind of vector the model has for one text, from one pass; ``None`` for a kind it has not.

    Attributes:
        dense: the pooled vector.
        sparse: weights per vocabulary entry.
        tokens: float32 ``[num_tokens, dim]``, for late interaction.
    """

    dense: EmbeddingOutput | None
    sparse: SparseEmbeddingOutput | None
    tokens: Array | None


@dataclass(frozen=True)
class ScoringOutput:
    """One pair's score."""

    score: float


@dataclass(frozen=True, kw_only=True)
class RequestOutput:
    """What every result carries.

    Attributes:
        request_id: decimal counter, in input order; ``"<q>_<d>"`` for bi-encoder scores.
        prompt_token_ids: the ids that were run, truncation applied.
        num_cached_tokens: always 0; kept for vLLM callers.
        finished: always true; kept for vLLM callers.
    """

    request_id: str
    prompt_token_ids: list[int]
    num_cached_tokens: int = 0
    finished: bool = True


@dataclass(frozen=True, kw_only=True)
class PoolingRequestOutput(RequestOutput):
    """Result of ``encode`` and ``reward``."""

    outputs: PoolingOutput


@dataclass(frozen=True, kw_only=True)
class EmbeddingRequestOutput(RequestOutput):
    """Result of ``embed``."""

    outputs: EmbeddingOutput


@dataclass(frozen=True, kw_only=True)
class SparseEmbeddingRequestOutput(RequestOutput):
    """Result of ``embed_sparse``."""

    outputs: SparseEmbeddingOutput


@dataclass(frozen=True, kw_only=True)
class AllEmbeddingsRequestOutput(RequestOutput):
    """Result of ``embed_all``."""

    outputs: AllEmbeddingsOutput


@dataclass(frozen=True, kw_only=True)
class ClassificationRequestOutput(RequestOutput):
    """Result of ``classify``."""

    outputs: ClassificationOutput


@dataclass(frozen=True, kw_only=True)
class ScoringRequestOutput(RequestOutput):
    """Result of ``score``."""

    outputs: ScoringOutput


def require_finite(data: Array, what: str) -> Array:
    """Return ``data``, or raise where it holds a NaN or an infinity.

    Raises:
        RuntimeFailure: a silent NaN would end up in somebody's index.
    """
    if not np.isfinite(data).all():
        raise RuntimeFailure(f"{what} is not finite; the graph overflowed, run a wider precision (fp32 or bf16)")
    return data
