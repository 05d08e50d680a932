"""Late interaction exported: against sentence-transformers' MultiVectorEncoder, in the three formats of the Hub."""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from tokenizers import Tokenizer

from pool_export import LLM, ParityError
from pool_export.export.adapters import AdaptedModel
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest

TEXTS = [
    "the capital, of france!",
    "a cat sat on the mat. really? yes; it did - twice (so they say) and then it went on to the next house.",
    "hello",
]
HIDDEN, DIM = 32, 16


def projection() -> torch.Tensor:
    return torch.randn(DIM, HIDDEN, generator=torch.Generator().manual_seed(0)) / HIDDEN**0.5


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


def one_token(folder: Path, old: str, new: str) -> None:
    """Rename a token of the vocabulary, so that a marker is in it without a wider model."""
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    content["model"]["vocab"][new] = content["model"]["vocab"].pop(old)
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(new) is not None


def pylate(folder: Path, **stated: Any) -> Path:
    """PyLate: Transformer and Dense; the rest is in config_sentence_transformers.json."""
    identity = "torch.nn.modules.linear.Identity"
    dense = {"in_features": HIDDEN, "out_features": DIM, "bias": False, "activation_function": identity}
    write_json(folder / "1_Dense/config.json", dense)
    save_file({"linear.weight": projection()}, folder / "1_Dense/model.safetensors")
    kinds = ("sentence_transformers.models.Transformer.Transformer", "pylate.models.Dense.Dense")
    rows = [{"idx": i, "name": str(i), "path": ("", "1_Dense")[i], "type": kind} for i, kind in enumerate(kinds)]
    write_json(folder / "modules.json", rows)
    usual = {
        "query_prefix": "[Q]",
        "document_prefix": "[D]",
        "query_length": 16,
        "document_length": 20,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
    }
    write_json(folder / "config_sentence_transformers.json", {"model_type": "ColBERT", **usual, **stated})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 31, "do_lower_case": False})
    return folder


def stanford(folder: Path) -> Path:
    """Stanford ColBERT: the projection among the weights, the rest in artifact.metadata."""
    tensors = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    save_file({**tensors, "linear.weight": projection()}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    write_json(folder / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    stated = {"dim": DIM, "query_maxlen": 12, "doc_maxlen": 24, "mask_punctuation": True}
    markers = {"query_token_id": "[Q]", "doc_token_id": "[D]", "attend_to_mask_tokens": False}
    write_json(folder / "artifact.metadata", {**stated, **markers})
    return folder


def native(folder: Path, target: Path) -> Path:
    """sentence-transformers 6, written by itself."""
    expansion: Any = {"strategy": "min", "attend": False, "length": 10}
    transformer = Transformer(str(folder), query_expansion=expansion, query_length=14, document_length=18)
    dense = Dense(HIDDEN, DIM, bias=False, activation_function=torch.nn.Identity(), init_weight=projection(),
                  module_input_name="token_embeddings")  # fmt: skip
    mask = MultiVectorMask(["!", ",", "."], skiplist_tasks=["query", "document"])
    modules: list[Any] = [transformer, dense, mask, Normalize(module_input_name="token_embeddings")]
    model = MultiVectorEncoder(
        modules=modules, prompts={"query": "ask: ", "document": ""}, similarity_fn_name="meanmaxsim"
    )
    model.save_pretrained(str(target))
    return target


@pytest.fixture
def checkpoint(tiny_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return `checkpoint(kind)`: a tiny checkpoint of that format."""

    def make(kind: str) -> Path:
        family = "modernbert" if kind == "pylate modernbert" else "bert"
        folder = Path(shutil.copytree(tiny_folder(family, layers=1), tmp_path / "checkpoint"))
        if family == "bert":
            vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
            rare = sorted((word for word in vocabulary if word.isalpha()), key=lambda word: -len(word))[:2]
            for word, marker in zip(rare, ("[Q]", "[D]"), strict=True):
                one_token(folder, word, marker)
        if kind == "stanford":
            return stanford(folder)
        if kind == "native":
            return native(folder, tmp_path / "native")
        stated: dict[str, Any] = {"pylate attend": {"attend_to_expansion_tokens": True},
                                  "pylate plain": {"do_query_expansion": False}}.get(kind, {})  # fmt: skip
        return pylate(folder, **stated)

    return make


def gaps(found: list[np.ndarray], wanted: list[Any]) -> float:
    rows = [np.asarray(row) for row in wanted]
    assert [row.shape for row in found] == [row.shape for row in rows]
    return max(float(np.abs(a - b).max()) for a, b in zip(found, rows, strict=True))


@pytest.mark.parametrize("kind", ["pylate", "pylate modernbert", "pylate attend", "stanford", "native"])
def test_queries_documents_and_scores_are_sentence_transformers(
    checkpoint: Callable[..., Path], tmp_path: Path, kind: str
):
    source = checkpoint(kind)
    result = export_model(ExportRequest(model=str(source), output=tmp_path / "bundle"))
    assert result.manifest.tasks == ("token_embed", "score", "encode")
    llm, other = LLM(tmp_path / "bundle"), MultiVectorEncoder(str(source), device="cpu")
    wanted = {"query": other.encode_query(TEXTS), "document": other.encode_document(TEXTS)}
    for side, rows in wanted.items():
        outputs = llm.encode(TEXTS, pooling_task="token_embed", input_type=side, use_tqdm=False)  # type: ignore[arg-type]
        assert gaps([item.outputs.data for item in outputs], [np.asarray(row.cpu()) for row in rows]) <= 1e-5
    scores = [[item.outputs.score for item in llm.score(text, TEXTS, use_tqdm=False)] for text in TEXTS]
    similarities = other.similarity(wanted["query"], wanted["document"]).numpy()
    np.testing.assert_allclose(scores, similarities, atol=2e-5)
    _check_files(tmp_path, source, other)


def _check_files(folder: Path, source: Path, other: MultiVectorEncoder) -> None:
    """The bundle's sentence-transformers files beside the same weights make the same encoder."""
    copy = Path(shutil.copytree(folder / "bundle", folder / "copy", ignore=shutil.ignore_patterns("onnx")))
    shutil.copyfile(source / "model.safetensors", copy / "model.safetensors")
    again = MultiVectorEncoder(str(copy), device="cpu")
    for mine, theirs in ((again.encode_query, other.encode_query), (again.encode_document, other.encode_document)):
        rows = [np.asarray(row.cpu()) for row in mine(TEXTS)]
        assert gaps(rows, [np.asarray(row.cpu()) for row in theirs(TEXTS)]) <= 1e-6


def test_a_marker_is_inserted_as_one_token(checkpoint: Callable[..., Path], tmp_path: Path):
    """PyLate's own rule, by hand: [CLS], the marker, the text; filled up with [MASK] to the query's length."""
    export_model(ExportRequest(model=str(checkpoint("pylate")), output=tmp_path / "bundle"))
    llm = LLM(tmp_path / "bundle")
    vocabulary = Tokenizer.from_file(str(tmp_path / "bundle/tokenizer.json"))
    (plain,) = llm.encode("hello", pooling_task="token_embed")
    (query,) = llm.encode("hello", pooling_task="token_embed", input_type="query")
    ids = plain.prompt_token_ids
    marked = [ids[0], vocabulary.token_to_id("[Q]"), *ids[1:]]
    mask = vocabulary.token_to_id("[MASK]")
    assert query.prompt_token_ids == marked + [mask] * (16 - len(marked))
    assert query.outputs.data.shape == (16, DIM)


def test_expansion_positions_that_are_not_counted_are_stopped(
    checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Planted: rows behind the text are cleared and share a position, as for ordinary padding."""
    source = checkpoint("pylate")
    monkeypatch.setattr(AdaptedModel, "_counted", lambda self, input_ids, attention_mask: attention_mask)
    with pytest.raises(ParityError, match="token_embeddings max-abs"):
        export_model(ExportRequest(model=str(source), output=tmp_path / "bundle"))


def test_the_projections_weights_must_fit(checkpoint: Callable[..., Path], tmp_path: Path):
    from pool_export import ConfigError

    source = checkpoint("stanford")
    stated = json.loads((source / "artifact.metadata").read_text("utf-8"))
    write_json(source / "artifact.metadata", {**stated, "dim": 8})
    with pytest.raises(ConfigError, match=r"`weight` must have shape \(8, 32\), got \(16, 32\)"):
        export_model(ExportRequest(model=str(source), output=tmp_path / "bundle"))
