"""Bundles for the runtime's tests: copies of real ones to damage, and ones whose graph is numpy.

The numpy graph answers by the graph contract (docs/design.md section 5) from a table of token vectors, so a test
can compute what it expects; every head, label count and policy costs a millisecond instead of an export.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from pool_export.poolers.spec import PoolingSpec
from pool_export.runtime.backends.backend import Place
from pool_export.runtime.bundle import Bundle, sha256
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.llm import LLM
from pool_export.runtime.manifest import (
    FileInfo,
    GraphInfo,
    Manifest,
    SourceInfo,
    TensorInfo,
    TokenizerPolicy,
    encode_manifest,
)

Array = np.ndarray
Edit = Callable[[dict[str, Any]], object]

HIDDEN = 6
SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[STEP]")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
VOCABULARY = (*SPECIALS, *WORDS)
SPECS: dict[str, dict[str, Any]] = {
    "embed": {"pooling": ("MEAN",), "activation": "normalize", "embedding_size": HIDDEN},
    "classify": {"pooling": ("CLS",), "activation": "softmax", "num_labels": 3, "labels": ("a", "b", "c")},
    "reward": {
        "pooling": ("ALL",),
        "activation": "identity",
        "use_activation": False,  # as `resolve` has it
        "num_labels": 2,
        "labels": ("bad", "good"),
    },
}


def fake_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


def output_names(spec: PoolingSpec) -> tuple[str, ...]:
    if spec.convert == "classify":
        return ("logits", "probs")
    if spec.convert == "reward":
        return ("rewards",)
    if spec.is_sparse_only:
        return ("sparse_embedding",)
    if spec.is_token_level:
        return ("token_embeddings", "last_hidden_state")
    if spec.sparse is not None:  # bge-m3's three heads
        return ("sentence_embedding", "last_hidden_state", "token_embeddings", "token_weights")
    projected = ("token_embeddings",) if spec.steps and len(spec.pooling) == 1 else ()
    raw = ("unnormalized_embedding",) if spec.use_activation else ()
    return ("sentence_embedding", "last_hidden_state", *projected, *raw)


def normalized(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


class FakeSession:
    """Stands for `session.Session`: the graph contract in numpy. `calls` holds (shape, outputs) of every batch."""

    table = np.random.default_rng(7).normal(size=(len(VOCABULARY), HIDDEN))
    weights = np.random.default_rng(8).normal(size=(HIDDEN, 8))

    def __init__(self, bundle: Bundle, config: RuntimeConfig, room: int | None = None) -> None:
        self.spec = bundle.manifest.pooling
        self.precision = "fp32" if config.precision == "auto" else config.precision
        self.place = Place(device="cpu", graph="fp32", compute="fp32")
        self.info = info = bundle.manifest.graphs[self.precision]
        self.device, self.on_cpu, self.threads, self.streams = "cpu", True, 1, 1
        self.batch_tokens = 8192
        self.length_step = 1
        self.input_names = tuple(item.name for item in info.inputs)
        self.output_names = tuple(item.name for item in info.outputs)
        self.calls: list[tuple[tuple[int, ...], tuple[str, ...]]] = []

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], *, gives_back: bool = True, alone: bool = False
    ) -> dict[str, Array]:
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        self.calls.append((ids.shape, tuple(outputs)))
        # 99 in the padding: whoever reads it is found out.
        late = self.spec.late_interaction
        counted = (mask == 1) | (ids == (late.counted_token_id if late is not None else None))
        states = np.where(counted[..., None], self.table[ids], 99.0)
        pooled = (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        answers = {name: self.answer(name, states, pooled) for name in outputs}
        return {name: value.astype(np.float32) for name, value in answers.items()}

    def answer(self, name: str, states: Array, pooled: Array) -> Array:
        spec = self.spec
        if name == "sparse_embedding":  # of as many words as there are features
            return np.log1p(np.maximum(np.where(states == 99.0, 0, states).max(axis=1), 0))
        if name == "token_weights":
            return np.maximum(states[..., 0], 0)
        logits = (states if spec.is_token_level else pooled) @ self.weights[:, : spec.num_labels]
        projected = states * 2 if spec.steps else states  # a "dense" layer
        if name == "token_embeddings":
            if spec.sparse is not None:
                return normalized(states[..., ::-1])
            return normalized(projected) if spec.is_token_level and spec.in_graph.use_activation else projected
        if name == "probs":
            traced = spec.in_graph
            shifted = (logits - (traced.logit_mean or 0)) / (traced.logit_sigma or 1)
            if spec.activation == "sigmoid":
                return 1 / (1 + np.exp(-shifted))
            return np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
        raw = pooled * 2 if spec.steps else pooled
        return {
            "sentence_embedding": normalized(raw) if spec.in_graph.use_activation else raw,
            "unnormalized_embedding": raw,
            "last_hidden_state": states,
            "logits": logits,
            "rewards": logits,
        }[name]


def write_fake_bundle(folder: Path, spec: PoolingSpec, policy: Mapping[str, Any]) -> Path:
    (folder / "onnx").mkdir(parents=True)
    graph = folder / "onnx/model.onnx"
    graph.write_bytes(b"a graph")
    fake_tokenizer().save(str(folder / "tokenizer.json"))

    def shape(name: str) -> tuple[str | int, ...]:
        if name == "token_weights":
            return ("batch_size", "sequence_length")
        per_token = spec.is_token_level or name in ("token_embeddings", "last_hidden_state")
        return ("batch_size", "sequence_length", HIDDEN) if per_token else ("batch_size", HIDDEN)

    info = GraphInfo(
        files=(FileInfo(path="onnx/model.onnx", size=graph.stat().st_size, sha256=sha256(graph)),),
        opset=20,
        inputs=tuple(
            TensorInfo(name=name, dtype="int64", shape=("batch_size", "sequence_length"))
            for name in ("input_ids", "attention_mask")
        ),
        outputs=tuple(TensorInfo(name=name, dtype="float32", shape=shape(name)) for name in output_names(spec)),
    )
    manifest = Manifest(
        format=1,
        source=SourceInfo(id="acme/fake", architecture="FakeModel", model_type="fake"),
        tasks=spec.tasks,
        pooling=spec,
        tokenizer=TokenizerPolicy(**{"max_length": 10, "vocab_size": len(VOCABULARY), **policy}),
        graphs={"fp32": info},
    )
    (folder / "pool_export.json").write_bytes(encode_manifest(manifest))
    return folder


@pytest.fixture
def fake_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Return `fake_bundle("embed", policy={...}, **spec)`: a bundle folder with a pretended graph."""

    def make(convert: str = "embed", policy: Mapping[str, Any] | None = None, **changes: Any) -> Path:
        spec = PoolingSpec(convert=convert, hidden_size=HIDDEN, **{**SPECS[convert], **changes})  # type: ignore[arg-type]
        number = sum(1 for _ in tmp_path.glob("fake-*"))
        return write_fake_bundle(tmp_path / f"fake-{number}", spec, policy or {})

    return make


@pytest.fixture
def fake_llm(fake_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., LLM]:
    """Return `fake_llm("embed", policy={...}, options={...}, **spec)`: an `LLM` over a numpy graph."""
    monkeypatch.setattr("pool_export.runtime.engine.Session", FakeSession)

    def make(convert: str = "embed", options: Mapping[str, Any] | None = None, **changes: Any) -> LLM:
        return LLM(fake_bundle(convert, **changes), **(options or {}))

    return make


@pytest.fixture
def states() -> Callable[[Sequence[int]], Array]:
    """Return `states(ids)`: the fake graph's hidden states of a text, `[num_tokens, HIDDEN]`."""
    return lambda ids: FakeSession.table[list(ids)]


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """Return the fake tokenizer's file: words `zero` to `eleven`, [CLS] and [SEP] around."""
    path = tmp_path / "tokenizer.json"
    fake_tokenizer().save(str(path))
    return path


@pytest.fixture
def bert_copy(tiny_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a copy of a real tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_bundle("bert"), tmp_path / "copy"))


@pytest.fixture
def edit_json() -> Callable[[Path, Edit], None]:
    """Return `edit_json(path, edit)`: rewrite a JSON file after `edit(content)` changed it."""

    def edit_file(path: Path, edit: Edit) -> None:
        content = json.loads(path.read_text("utf-8"))
        edit(content)
        path.write_text(json.dumps(content), "utf-8")

    return edit_file


@pytest.fixture(scope="session")
def minilm(minilm_bundle: Path) -> LLM:
    return LLM(minilm_bundle, device="cpu")


@pytest.fixture(scope="session")
def tiny_llm(tiny_bundle: Callable[..., Path]) -> Callable[..., LLM]:
    """Return `tiny_llm(family, head)`: the tiny bundle, opened once a run."""
    opened: dict[tuple[str, str], LLM] = {}

    def open_once(family: str, head: str = "base") -> LLM:
        if (family, head) not in opened:
            opened[family, head] = LLM(tiny_bundle(family, head), device="cpu")
        return opened[family, head]

    return open_once
