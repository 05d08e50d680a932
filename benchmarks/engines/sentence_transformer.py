"""sentence-transformers on torch: `SentenceTransformer.encode` and `CrossEncoder.predict`."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import Opened


class SentenceTransformers:
    """Sorts the texts by length itself."""

    PACKAGES = ("sentence-transformers", "torch", "transformers")

    def __init__(self, opened: Opened) -> None:
        import torch

        torch.set_num_threads(opened.threads)
        how = {
            "device": "cpu",
            "model_kwargs": {"dtype": {"fp32": torch.float32, "bf16": torch.bfloat16}[opened.precision]},
        }
        if opened.task == "rerank":
            from sentence_transformers import CrossEncoder

            self._model: Any = CrossEncoder(opened.checkpoint, max_length=opened.max_length, **how)
        else:
            from sentence_transformers import SentenceTransformer

            self._model = SentenceTransformer(opened.checkpoint, **how)
            self._model.max_seq_length = opened.max_length

    def embed(self, texts: list[str], batch_size: int | None) -> Any:
        return self._model.encode(texts, batch_size=batch_size or 32, show_progress_bar=False)

    def score(self, query: str, documents: list[str], batch_size: int | None) -> Any:
        pairs = [(query, document) for document in documents]
        return self._model.predict(pairs, batch_size=batch_size or 32, show_progress_bar=False)

    @staticmethod
    def rows(answers: Any) -> np.ndarray:
        return np.asarray(answers, np.float32)
