"""pool_export: the public API, nothing tuned by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import Opened


class PoolExport:
    """`LLM(bundle).embed(texts)`; batches are the engine's own business."""

    PACKAGES = ("pool-export", "onnxruntime", "openvino")

    def __init__(self, opened: Opened) -> None:
        from pool_export import LLM

        self._llm = LLM(opened.bundle, threads=opened.threads, precision=opened.precision, **opened.options)

    def embed(self, texts: list[str], batch_size: int | None) -> Any:
        return self._llm.embed(texts, use_tqdm=False)

    def score(self, query: str, documents: list[str], batch_size: int | None) -> Any:
        return self._llm.score(query, documents, use_tqdm=False)

    @staticmethod
    def rows(answers: Any) -> np.ndarray:
        first = answers[0].outputs
        name = "embedding" if hasattr(first, "embedding") else "score"
        return np.array([getattr(answer.outputs, name) for answer in answers], np.float32)
