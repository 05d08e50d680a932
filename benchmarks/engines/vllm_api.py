"""vLLM's offline API, which pool_export has too: `embed`, `score`, and what they return."""

from __future__ import annotations

from typing import Any

import numpy as np


class VllmApi:
    """Base of both; a subclass opens `_llm`. Batches are the engine's own business."""

    _llm: Any

    def embed(self, texts: list[str], batch_size: int | None) -> Any:
        return self._llm.embed(texts, use_tqdm=False)

    def score(self, query: str, documents: list[str], batch_size: int | None) -> Any:
        return self._llm.score(query, documents, use_tqdm=False)

    @staticmethod
    def rows(answers: Any) -> np.ndarray:
        first = answers[0].outputs
        name = "embedding" if hasattr(first, "embedding") else "score"
        return np.array([getattr(answer.outputs, name) for answer in answers], np.float32)
