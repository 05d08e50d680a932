"""The script that a user of onnxruntime or OpenVINO writes: batches in the order given, padded by the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import Opened


class _Script:
    def __init__(self, opened: Opened) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(Path(opened.bundle, "tokenizer.json")))
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(opened.max_length)
        self._output = "logits" if opened.task == "rerank" else "sentence_embedding"

    def _run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        raise NotImplementedError

    def _answer(self, items: list[Any], batch_size: int | None) -> np.ndarray:
        size, found = batch_size or 32, []
        for start in range(0, len(items), size):
            encoded = self._tokenizer.encode_batch(items[start : start + size])
            feed = {
                "input_ids": np.array([item.ids for item in encoded]),
                "attention_mask": np.array([item.attention_mask for item in encoded]),
                "token_type_ids": np.array([item.type_ids for item in encoded]),
            }
            found.append(self._run(feed))
        return np.concatenate(found)

    def embed(self, texts: list[str], batch_size: int | None) -> np.ndarray:
        return self._answer(texts, batch_size)

    def score(self, query: str, documents: list[str], batch_size: int | None) -> np.ndarray:
        return self._answer([(query, document) for document in documents], batch_size)[:, 0]

    @staticmethod
    def rows(answers: np.ndarray) -> np.ndarray:
        return answers


class Onnxruntime(_Script):
    """`InferenceSession` with nothing set but the threads."""

    PACKAGES = ("onnxruntime", "tokenizers")

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = opened.threads
        path = str(Path(opened.bundle, "onnx/model.onnx"))
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = {item.name for item in self._session.get_inputs()}

    def _run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        needed = {name: value for name, value in feed.items() if name in self._names}
        return np.asarray(self._session.run([self._output], needed)[0])


class Openvino(_Script):
    """`compile_model` with nothing set but the threads and the precision."""

    PACKAGES = ("openvino", "tokenizers")

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        import openvino

        hints = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[opened.precision]}
        core = openvino.Core()
        path = str(Path(opened.bundle, "onnx/model.onnx"))
        self._model: Any = core.compile_model(path, "CPU", {**hints, "INFERENCE_NUM_THREADS": opened.threads})
        self._names = {item.get_any_name() for item in self._model.inputs}

    def _run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        needed = {name: value for name, value in feed.items() if name in self._names}
        return np.array(self._model(needed)[self._output])
