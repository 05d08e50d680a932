"""infinity on torch: `AsyncEmbeddingEngine.embed` and `.rerank`."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from . import Opened


class Infinity:
    """An asynchronous engine that batches by itself; the batch size is an argument of the engine, not of the call."""

    PACKAGES = ("infinity-emb", "sentence-transformers", "torch", "transformers")

    def __init__(self, opened: Opened) -> None:
        import torch

        torch.set_num_threads(opened.threads)
        self._opened, self._engine, self._size = opened, None, 0
        self._loop = asyncio.new_event_loop()

    def _started(self, batch_size: int) -> Any:
        from infinity_emb import AsyncEmbeddingEngine, EngineArgs

        if batch_size != self._size:
            if self._engine is not None:
                self._loop.run_until_complete(self._engine.astop())
            args = EngineArgs(
                model_name_or_path=self._opened.checkpoint,
                engine="torch",
                device="cpu",
                dtype={"fp32": "float32", "bf16": "bfloat16"}[self._opened.precision],
                batch_size=batch_size,
                model_warmup=False,
                **self._opened.options,
            )
            self._engine, self._size = AsyncEmbeddingEngine.from_args(args), batch_size
            self._loop.run_until_complete(self._engine.astart())
        return self._engine

    def embed(self, texts: list[str], batch_size: int | None) -> Any:
        engine = self._started(batch_size or 32)
        return self._loop.run_until_complete(engine.embed(texts))[0]

    def score(self, query: str, documents: list[str], batch_size: int | None) -> Any:
        engine = self._started(batch_size or 32)
        ranked, _ = self._loop.run_until_complete(engine.rerank(query=query, docs=documents))
        return [found.relevance_score for found in sorted(ranked, key=lambda found: found.index)]

    @staticmethod
    def rows(answers: Any) -> np.ndarray:
        return np.array(answers, np.float32)
