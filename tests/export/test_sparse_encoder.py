"""SPLADE exported: against sentence-transformers' SparseEncoder, on tiny checkpoints and on a trained one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SparseEncoder

from pool_export import LLM, ConfigError, ParityError, SourceError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.texts import hard_texts, sentences
from pool_export.poolers import pooler
from pool_export.runtime.replay import replay

SPLADE = {"pooling_type": "SPLADE"}
TEXTS = [*[text for text in hard_texts() if 0 < len(text) < 60], *sentences()[:8]]


def write_sparse_encoder(folder: Path, dialect: str, **pooling: Any) -> None:
    """Write the two modules as sentence-transformers 5.0 (`old`) or 6 saves them."""
    new = "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling"
    kinds = {
        "old": ("sentence_transformers.sparse_encoder.models.MLMTransformer.MLMTransformer",
                "sentence_transformers.sparse_encoder.models.SpladePooling.SpladePooling"),
        "new": ("sentence_transformers.base.modules.transformer.Transformer", new),
    }  # fmt: skip
    rows = [{"idx": i, "name": str(i), "path": ("", "1_SpladePooling")[i], "type": kinds[dialect][i]} for i in (0, 1)]
    (folder / "modules.json").write_text(json.dumps(rows), "utf-8")
    (folder / "1_SpladePooling").mkdir()
    (folder / "1_SpladePooling/config.json").write_text(json.dumps(pooling), "utf-8")
    settings = {"model_type": "SparseEncoder", "similarity_fn_name": "dot"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), "utf-8")
    if dialect == "new":
        transformer = {
            "transformer_task": "fill-mask",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "token_embeddings",
        }
        (folder / "sentence_bert_config.json").write_text(json.dumps(transformer), "utf-8")


def encode(folder: Path, texts: list[str]) -> np.ndarray:
    found: np.ndarray = (
        SparseEncoder(str(folder), device="cpu").encode(texts, convert_to_sparse_tensor=False).numpy()  # type: ignore[union-attr]
    )
    return found


def _gap(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference, relative above magnitude 1 (sums over tokens go to 60)."""
    return float((np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))).max())


@pytest.mark.parametrize(
    ("family", "dialect", "pooling"),
    [
        ("bert", "old", {"pooling_strategy": "max"}),
        ("distilbert", "new", {"pooling_strategy": "sum", "activation_function": "relu"}),
        ("roberta", "new", {"pooling_strategy": "max", "activation_function": "log1p_relu"}),
    ],
)
def test_a_sparse_encoder_answers_as_sentence_transformers(
    tiny_folder: Callable[..., Path], tmp_path: Path, family: str, dialect: str, pooling: dict[str, Any]
):
    source = tmp_path / "checkpoint"
    shutil.copytree(tiny_folder(family, "masked_lm", layers=1), source)
    write_sparse_encoder(source, dialect, **pooling)
    result = export_model(ExportRequest(model=str(source), output=tmp_path / "bundle"))
    assert [item.name for item in result.manifest.graphs["fp32"].outputs] == ["sparse_embedding"]
    assert (result.manifest.similarity, result.manifest.tasks[0]) == ("dot", "embed")
    llm = LLM(tmp_path / "bundle")
    wanted = encode(source, TEXTS)
    found = np.stack([item.outputs.data for item in llm.embed(TEXTS, use_tqdm=False)])
    assert _gap(found, wanted) <= 1e-5
    for item, row in zip(llm.embed_sparse(TEXTS, use_tqdm=False), wanted, strict=True):
        assert item.outputs.size == len(row)
        dense = np.zeros_like(row)
        dense[item.outputs.indices] = item.outputs.values
        assert _gap(dense, row) <= 1e-5
    scores = [item.outputs.score for item in llm.score(TEXTS[0], TEXTS, use_tqdm=False)]
    np.testing.assert_allclose(scores, wanted @ wanted[0], rtol=1e-5, atol=1e-5)
    assert replay(llm.engine).passed


def test_the_bundles_own_files_make_the_same_sparse_encoder(tiny_folder: Callable[..., Path], tmp_path: Path):
    source = tiny_folder("bert", "masked_lm", layers=1)
    export_model(ExportRequest(model=str(source), output=tmp_path / "bundle", pooler_config=SPLADE))
    copy = shutil.copytree(tmp_path / "bundle", tmp_path / "copy", ignore=shutil.ignore_patterns("onnx"))
    shutil.copyfile(source / "model.safetensors", copy / "model.safetensors")
    model = SparseEncoder(str(copy), device="cpu")
    assert (type(model[1]).__name__, model.similarity_fn_name) == ("SpladePooling", "dot")
    assert np.abs(encode(copy, TEXTS) - encode(source, TEXTS)).max() == 0


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["modernbert", "xlm-roberta", "electra"])
def test_padding_does_not_show_before_tracing(
    adapted: Callable[..., Any], tiny_folder: Callable[..., Path], family: str, side: str
):
    """The adapter alone, without a trace, over more families."""
    source = tiny_folder(family, "masked_lm", layers=1)
    model = adapted(source, pooler_config=SPLADE, convert="embed")
    found = model.run(TEXTS, side)["sparse_embedding"]
    assert np.abs(found - encode(source, TEXTS)).max() <= 1e-5


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "wrong",
    [
        lambda logits, mask, strategy, function: logits.relu().log1p().amax(dim=1),  # padding counts
        lambda logits, mask, strategy, function: (logits.relu() * mask.unsqueeze(-1)).amax(dim=1),  # no log
    ],
    ids=["padding counts", "no logarithm"],
)
def test_a_planted_fault_is_stopped(
    tiny_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., Any]
):
    monkeypatch.setattr(pooler, "splade", wrong)
    source = tiny_folder("bert", "masked_lm", layers=1)
    with pytest.raises(ParityError, match="sparse_embedding max-abs"):
        export_model(ExportRequest(model=str(source), output=tmp_path / "bundle", pooler_config=SPLADE))
    assert not (tmp_path / "bundle").exists()


def test_a_checkpoint_without_the_heads_weights_is_refused(tiny_folder: Callable[..., Path], tmp_path: Path):
    request = ExportRequest(model=str(tiny_folder("bert", layers=1)), output=tmp_path / "b", pooler_config=SPLADE)
    with pytest.raises(SourceError, match=r"not in the checkpoint .*SPLADE needs a masked language model's head"):
        export_model(request)


def test_an_inference_free_encoder_is_refused_by_module(tiny_folder: Callable[..., Path], tmp_path: Path):
    source = Path(shutil.copytree(tiny_folder("bert", "masked_lm", layers=1), tmp_path / "checkpoint"))
    kind = "sentence_transformers.base.modules.router.Router"
    (source / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]), "utf-8")
    with pytest.raises(ConfigError, match=r"modules\.router\.Router"):
        export_model(ExportRequest(model=str(source), output=tmp_path / "b"))


# --------------------------------------------------------------------------------------------------- a trained one


@pytest.fixture(scope="module")
def trained_bundle(splade_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("splade") / "bundle"
    export_model(ExportRequest(model=str(splade_folder), output=target, pooler_config=SPLADE))
    return target


def test_a_trained_splade_expands_a_text(splade_folder: Path, trained_bundle: Path):
    llm = LLM(trained_bundle)
    wanted = encode(splade_folder, TEXTS)
    found = np.stack([item.outputs.data for item in llm.embed(TEXTS, use_tqdm=False)])
    assert np.abs(found - wanted).max() <= 1e-5
    (output,) = llm.embed_sparse("The capital of France is Paris")
    words = list(output.outputs.token_weights)
    assert words[:4] == ["capital", "paris", "france", "french"]
    assert (output.outputs.size, len(output.outputs.indices) < 50) == (30522, True)
    ranked = llm.score("where is paris", ["a cat sat on the mat", "paris is the capital of france"], use_tqdm=False)
    assert ranked[1].outputs.score > ranked[0].outputs.score
    assert replay(llm.engine).passed
