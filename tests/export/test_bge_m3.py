"""bge-m3's three heads from one graph, against FlagEmbedding's own arithmetic written out in torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pool_export import LLM, ParityError, SourceError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.st_files import write_modules
from pool_export.poolers.pooler import Pooler
from pool_export.runtime.replay import replay

HIDDEN = 32
TEXTS = ["hello world hello", "the cat sat on the mat", "", "ein Haus am See"]


@pytest.fixture
def checkpoint(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A tiny XLM-RoBERTa with bge-m3's files beside it."""
    folder = Path(shutil.copytree(tiny_folder("xlm-roberta", layers=1), tmp_path / "checkpoint"))
    write_modules(folder, pooling="cls", normalize=True)
    generator = torch.Generator().manual_seed(5)
    for name, rows in (("sparse_linear", 1), ("colbert_linear", HIDDEN)):
        tensors = {"weight": torch.randn(rows, HIDDEN, generator=generator) / 4, "bias": torch.full((rows,), 0.1)}
        torch.save(tensors, folder / f"{name}.pt")
    return folder


class FlagEmbedding:
    """`BGEM3FlagModel.encode` for one text at a time."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()
        self.sparse, self.colbert = (torch.load(folder / f"{name}_linear.pt") for name in ("sparse", "colbert"))

    def __call__(self, text: str) -> dict[str, Any]:
        row = self.tokenizer(text, return_tensors="pt")
        ids = row["input_ids"][0].tolist()
        with torch.no_grad():
            states = self.model(**row).last_hidden_state[0]
        dense = torch.nn.functional.normalize(states[0], dim=-1)
        vectors = states[1:] @ self.colbert["weight"].T + self.colbert["bias"]
        weights = torch.relu(states @ self.sparse["weight"].T + self.sparse["bias"])[:, 0]
        unused = {getattr(self.tokenizer, f"{role}_token_id") for role in ("cls", "eos", "pad", "unk")}
        lexical: dict[int, float] = {}
        for number, weight in zip(ids, weights.tolist(), strict=True):
            if number not in unused and weight > max(0.0, lexical.get(number, 0.0)):
                lexical[number] = weight
        tokens = torch.nn.functional.normalize(vectors, dim=-1)
        return {"dense": dense.numpy(), "sparse": lexical, "tokens": tokens.numpy()}


def test_one_pass_answers_all_three_as_flagembedding(checkpoint: Path, tmp_path: Path):
    result = export_model(ExportRequest(model=str(checkpoint), output=tmp_path / "bundle"))
    names = [item.name for item in result.manifest.graphs["fp32"].outputs]
    assert names == [
        "sentence_embedding",
        "last_hidden_state",
        "token_embeddings",
        "token_weights",
        "unnormalized_embedding",
    ]
    assert result.manifest.tasks == ("embed", "score", "token_embed", "encode", "sparse_embed")
    llm, reference = LLM(tmp_path / "bundle"), FlagEmbedding(checkpoint)
    for item, text in zip(llm.embed_all(TEXTS, use_tqdm=False), TEXTS, strict=True):
        wanted, found = reference(text), item.outputs
        assert found.dense is not None
        assert found.sparse is not None
        assert found.tokens is not None
        assert np.abs(found.dense.data - wanted["dense"]).max() <= 1e-5
        assert found.tokens.shape == wanted["tokens"].shape
        assert np.abs(found.tokens - wanted["tokens"]).max(initial=0.0) <= 1e-5
        assert set(found.sparse.indices.tolist()) == set(wanted["sparse"])
        for number, weight in zip(found.sparse.indices.tolist(), found.sparse.values.tolist(), strict=True):
            assert weight == pytest.approx(wanted["sparse"][number], abs=1e-5)
    assert replay(llm.engine).passed


@pytest.mark.parametrize(
    ("old", "new"), [("token_weights", lambda value: value + 0.01), ("token_embeddings", lambda value: value * 1.01)]
)
def test_a_planted_fault_in_a_head_is_stopped(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: Callable[..., Any]
):
    right = Pooler._further

    def wrong(self: Pooler, states: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = right(self, states, mask)
        return {**outputs, old: new(outputs[old])}

    monkeypatch.setattr(Pooler, "_further", wrong)
    with pytest.raises(ParityError, match=f"{old} max-abs"):
        export_model(ExportRequest(model=str(checkpoint), output=tmp_path / "bundle"))


def test_code_in_a_weight_file_is_not_run(checkpoint: Path, tmp_path: Path):
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "trapped",))

    torch.save({"weight": Trap()}, checkpoint / "sparse_linear.pt")
    with pytest.raises(SourceError, match=r"sparse_linear\.pt cannot be read as a file of tensors"):
        export_model(ExportRequest(model=str(checkpoint), output=tmp_path / "bundle"))
    assert not (tmp_path / "trapped").exists()
