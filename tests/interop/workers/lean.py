"""Consumers without torch: onnxruntime, OpenVINO, fastembed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from common import Answers, Case, batches, cases_of, work
from tokenizers import Tokenizer

OUTPUTS = {"embed": ("sentence_embedding", "last_hidden_state"), "classify": ("logits", "probs")}
OUTPUTS["cross-encoder"] = OUTPUTS["classify"]

Feeds = dict[str, np.ndarray]


def replay(bundle: Path, kind: str, answers: Answers, run: Callable[[Feeds, tuple[str, ...]], list[Any]]) -> None:
    """Tokenize with the bundle's tokenizer.json, pad, run, and cut token-level outputs to their text."""
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    config = json.loads((bundle / "tokenizer_config.json").read_text("utf-8"))
    tokenizer.enable_truncation(config["model_max_length"])
    tokenizer.enable_padding()
    for batch in batches(cases_of(bundle)):
        rows = tokenizer.encode_batch([_text(case) for case in batch])
        feeds = {
            "input_ids": np.array([row.ids for row in rows], np.int64),
            "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
            "token_type_ids": np.array([row.type_ids for row in rows], np.int64),
        }
        for name, values in zip(OUTPUTS[kind], run(feeds, OUTPUTS[kind]), strict=True):
            for row, (case, value) in enumerate(zip(batch, values, strict=True)):
                length = int(feeds["attention_mask"][row].sum())
                answers.add("graph", name, case, value[:length] if name == "last_hidden_state" else value)


def _text(case: Case) -> str | tuple[str, str]:
    return case.text if case.pair is None else (case.text, case.pair)


def onnxruntime(bundle: Path, kind: str, answers: Answers) -> str:
    import onnxruntime as ort

    session = ort.InferenceSession(str(bundle / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
    names = {item.name for item in session.get_inputs()}

    def run(feeds: Feeds, outputs: tuple[str, ...]) -> list[Any]:
        return session.run(list(outputs), {name: value for name, value in feeds.items() if name in names})

    replay(bundle, kind, answers, run)
    return version("onnxruntime")


def openvino(bundle: Path, kind: str, answers: Answers) -> str:
    import openvino as ov

    core = ov.Core()
    # Without it a CPU with bfloat16 units computes in bfloat16.
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = core.compile_model(core.read_model(bundle / "onnx/model.onnx"), "CPU", options)
    names = {item.get_any_name() for item in model.inputs}

    def run(feeds: Feeds, outputs: tuple[str, ...]) -> list[Any]:
        found = model({name: value for name, value in feeds.items() if name in names})
        return [found[name] for name in outputs]

    replay(bundle, kind, answers, run)
    return version("openvino")


def fastembed(bundle: Path, kind: str, answers: Answers) -> str:
    if kind == "embed":
        _fastembed_vectors(bundle, answers)
    else:
        _fastembed_scores(bundle, answers)
    return version("fastembed")


def _fastembed_vectors(bundle: Path, answers: Answers) -> None:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    cases = cases_of(bundle)
    asked = {
        "output 0 as it is": {"pooling": PoolingType.DISABLED, "normalization": False},
        "its own mean": {"pooling": PoolingType.MEAN, "normalization": True, "output_name": "last_hidden_state"},
    }
    for way, options in asked.items():
        # The source is not asked: the path is given.
        TextEmbedding.add_custom_model(model=way, sources=ModelSource(hf="local/bundle"), dim=384, **options)
        model = TextEmbedding(way, specific_model_path=str(bundle), threads=1)
        for case, vector in zip(cases, model.embed([case.text for case in cases], batch_size=16), strict=True):
            answers.add(way, "sentence_embedding", case, vector)


def _fastembed_scores(bundle: Path, answers: Answers) -> None:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model("bundle", model_file="onnx/model.onnx", sources=ModelSource(hf="local/bundle"))
    model = TextCrossEncoder("bundle", specific_model_path=str(bundle), threads=1)
    cases = cases_of(bundle, paired=True)
    for case, score in zip(cases, model.rerank_pairs([(case.text, case.pair) for case in cases]), strict=True):
        answers.add("rerank_pairs", "logits", case, np.array([score]))


if __name__ == "__main__":
    work(sys.argv[1:], {"onnxruntime": onnxruntime, "openvino": openvino, "fastembed": fastembed})
