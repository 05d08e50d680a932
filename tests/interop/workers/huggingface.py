"""Consumers of the Hugging Face family: sentence-transformers with its ONNX backend, and optimum."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from common import BATCH, Answers, batches, cases_of, work


def sentence_transformers(bundle: Path, kind: str, answers: Answers) -> str:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    options = {"backend": "onnx", "device": "cpu", "local_files_only": True}
    if kind == "embed":
        cases = cases_of(bundle)
        model = SentenceTransformer(str(bundle), **options)
        for case, vector in zip(cases, model.encode([case.text for case in cases], batch_size=BATCH), strict=True):
            answers.add("encode", "sentence_embedding", case, vector)
    else:
        cases = cases_of(bundle, paired=True)
        scorer = CrossEncoder(str(bundle), **options)
        rows = scorer.predict([(case.text, case.pair) for case in cases], activation_fn=torch.nn.Identity())
        for case, row in zip(cases, rows, strict=True):
            answers.add("predict", "logits", case, np.atleast_1d(row))
    return version("sentence-transformers")


def optimum(bundle: Path, kind: str, answers: Answers) -> str:
    from optimum.onnxruntime import (
        ORTModelForCustomTasks,
        ORTModelForFeatureExtraction,
        ORTModelForSequenceClassification,
    )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(bundle))
    states = kind == "embed"
    model = (ORTModelForFeatureExtraction if states else ORTModelForSequenceClassification).from_pretrained(str(bundle))
    custom = ORTModelForCustomTasks.from_pretrained(str(bundle)) if states else None
    for batch in batches(cases_of(bundle)):
        texts = [case.text for case in batch]
        pairs = None if batch[0].pair is None else [case.pair for case in batch]
        fed = tokenizer(texts, pairs, padding=True, truncation=True, return_tensors="pt")
        answer = model(**fed)
        if custom is None:
            for case, row in zip(batch, answer.logits, strict=True):
                answers.add("ORTModelForSequenceClassification", "logits", case, row)
            continue
        whole = custom(**fed)["sentence_embedding"]
        for row, case in enumerate(batch):
            tokens = answer.last_hidden_state[row][fed["attention_mask"][row].bool()]
            way = "ORTModelForFeatureExtraction"
            answers.add(way, "last_hidden_state", case, tokens)
            answers.add(way, "sentence_embedding", case, torch.nn.functional.normalize(tokens.mean(0), dim=0))
            answers.add("ORTModelForCustomTasks", "sentence_embedding", case, whole[row])
    return version("optimum-onnx")


if __name__ == "__main__":
    work(sys.argv[1:], {"sentence-transformers": sentence_transformers, "optimum": optimum})
