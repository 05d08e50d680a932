"""The honest upper reference: what somebody who knows the host writes by hand, for this model and this machine.

All texts tokenized at once, sorted by length, packed by padded tokens, two sessions (or streams) of one thread each
out of one queue. No checks, no options, no other pooling, no limits: a script, not a library. Like `engines/` it runs
in a worker, and imports nothing of pool_export.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from engines import Opened

Feed = dict[str, np.ndarray]


class _Tuned:
    def __init__(self, opened: Opened) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(Path(opened.bundle, "tokenizer.json")))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(opened.max_length)
        self._output = "logits" if opened.task == "rerank" else "sentence_embedding"
        self._graph = str(Path(opened.bundle, "onnx/model.onnx"))
        self._runs = self._open(opened)

    def _open(self, opened: Opened) -> list[Callable[[Feed], np.ndarray]]:
        """Return one function a stream, each of which runs a batch."""
        raise NotImplementedError

    def _answer(self, items: list[Any], budget: int) -> np.ndarray:
        encoded = [(item.ids, item.type_ids) for item in self._tokenizer.encode_batch_fast(items)]
        order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index][0]))
        batches: SimpleQueue[list[int]] = SimpleQueue()
        start = 0
        while start < len(order):  # longest first: the end of the queue is short batches for both streams
            rows = max(1, budget // len(encoded[order[start]][0]))
            batches.put(order[start : start + rows])
            start += rows
        found: list[Any] = [None] * len(items)
        work = [Thread(target=self._drain, args=(run, batches, encoded, found)) for run in self._runs]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        return np.array(found)

    def _drain(
        self, run: Callable[[Feed], np.ndarray], batches: SimpleQueue[list[int]], encoded: list[Any], found: list[Any]
    ) -> None:
        while True:
            try:
                rows = batches.get_nowait()
            except Empty:
                return
            width = len(encoded[rows[0]][0])
            feed = {name: np.zeros((len(rows), width), np.int64) for name in _INPUTS}
            for row, index in enumerate(rows):
                ids, types = encoded[index]
                feed["input_ids"][row, : len(ids)] = ids
                feed["attention_mask"][row, : len(ids)] = 1
                feed["token_type_ids"][row, : len(ids)] = types
            for index, vector in zip(rows, run(feed), strict=True):
                found[index] = vector

    def embed(self, texts: list[str], batch_size: int | None) -> np.ndarray:
        return self._answer(texts, batch_size or 512)

    def score(self, query: str, documents: list[str], batch_size: int | None) -> np.ndarray:
        return self._answer([(query, document) for document in documents], batch_size or 512)[:, 0]

    @staticmethod
    def rows(answers: np.ndarray) -> np.ndarray:
        return answers


_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Onnxruntime(_Tuned):
    """Two 1-thread sessions, without the fusions that are slower than what they replace."""

    PACKAGES = ("onnxruntime", "tokenizers")

    def _open(self, opened: Opened) -> list[Callable[[Feed], np.ndarray]]:
        import onnxruntime

        def one() -> Callable[[Feed], np.ndarray]:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(
                self._graph,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["SkipLayerNormFusion", "BiasGeluFusion"],
            )
            names = {item.name for item in session.get_inputs()}
            return lambda feed: session.run([self._output], {name: feed[name] for name in names})[0]

        return [one() for _ in range(opened.threads)]


class Openvino(_Tuned):
    """One compiled model, a stream a thread."""

    PACKAGES = ("openvino", "tokenizers")

    def _open(self, opened: Opened) -> list[Callable[[Feed], np.ndarray]]:
        import openvino

        how = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[opened.precision],
            "INFERENCE_NUM_THREADS": opened.threads,
            "NUM_STREAMS": opened.threads,
        }
        model = openvino.Core().compile_model(self._graph, "CPU", how)
        names = [item.get_any_name() for item in model.inputs]

        def one() -> Callable[[Feed], np.ndarray]:
            request = model.create_infer_request()
            return lambda feed: request.infer({name: feed[name] for name in names}, share_inputs=True)[
                self._output
            ].copy()

        return [one() for _ in range(opened.threads)]
