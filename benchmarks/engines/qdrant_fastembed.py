"""fastembed: a custom model out of the bundle's files, `embed` and `rerank`."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import Opened

_FILE = "onnx/model.onnx"


class Fastembed:
    """Its session is its own: default options, and as many threads as it is told."""

    PACKAGES = ("fastembed", "onnxruntime", "tokenizers")

    def __init__(self, opened: Opened) -> None:
        from fastembed.common.model_description import ModelSource, PoolingType

        name, source = "local/model", ModelSource(hf="local/model")
        how = {"threads": opened.threads, "specific_model_path": opened.bundle}
        if opened.task == "rerank":
            from fastembed.rerank.cross_encoder import TextCrossEncoder

            TextCrossEncoder.add_custom_model(name, sources=source, model_file=_FILE)
            self._model: Any = TextCrossEncoder(name, **how)
        else:
            from fastembed import TextEmbedding

            # Pooled and normalised in the graph.
            pooled = {"pooling": PoolingType.DISABLED, "normalization": False, "output_name": "sentence_embedding"}
            TextEmbedding.add_custom_model(name, sources=source, model_file=_FILE, dim=opened.dimensions, **pooled)
            self._model = TextEmbedding(name, **how)

    def embed(self, texts: list[str], batch_size: int | None) -> Any:
        return list(self._model.embed(texts, batch_size=batch_size or 256))

    def score(self, query: str, documents: list[str], batch_size: int | None) -> Any:
        return list(self._model.rerank(query, documents, batch_size=batch_size or 64))

    @staticmethod
    def rows(answers: Any) -> np.ndarray:
        return np.array(answers, np.float32)
