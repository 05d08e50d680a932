"""Checkpoints with module chains: the same vectors as sentence-transformers, and bundles it can read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import pairwise_cos_sim

from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.export.sidecars import write_config, write_tokenizer
from pool_export.export.st_files import write_sentence_transformers
from pool_export.models_zoo.st_files import ACTIVATIONS, DIALECTS, POOLING_MODES, write_modules
from pool_export.models_zoo.texts import hard_texts, pairs, sentences
from pool_export.models_zoo.tiny import write_tiny
from pool_export.runtime.manifest import TokenizerPolicy

# Ragged, and with texts beyond the tiny models' 128 tokens.
TEXTS = [*sentences()[:20], *[text for text in hard_texts() if text]]
TOLERANCE = 1e-5

DEEP = [(32, 24, "tanh"), (24, 16, "identity")]
ALL_MODES = list(POOLING_MODES)

# What is traced and run for real. The rest of the combinations is composed in torch.
EXPORTED: dict[str, tuple[str, dict[str, Any]]] = {
    "every-mode-raw": ("roberta", {"pooling": ALL_MODES, "normalize": False, "dialect": "old"}),
    "deep": ("qwen3", {"pooling": "lasttoken", "dense": DEEP, "layer_norm": True, "dialect": "new"}),
    "short-lower": ("bert", {"pooling": "mean", "max_seq_length": 20, "do_lower_case": True, "dialect": "old"}),
}


def reference(folder: Path, texts: list[str]) -> np.ndarray:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(texts)


def write(folder: Path, family: str = "bert", **modules: Any) -> Path:
    return write_modules(write_tiny(folder, family, layers=1), **modules)


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= TOLERANCE * max(1.0, np.abs(wanted).max())


# -------------------------------------------------------------------------------------------- composed in torch


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_pooling_mode(tmp_path: Path, adapted: Any, mode: str, dialect: Any, side: str):
    folder = write(tmp_path / "model", pooling=mode, dialect=dialect, normalize=False)
    assert_same(adapted(folder).run(TEXTS, side)["sentence_embedding"], reference(folder, TEXTS))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_dense_activation(tmp_path: Path, adapted: Any, activation: str):
    folder = write(tmp_path / "model", dense=[(32, 24, activation)], normalize=False)
    assert_same(adapted(folder).run(TEXTS)["sentence_embedding"], reference(folder, TEXTS))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "modules",
    [
        {"pooling": ["cls", "mean"], "dense": [(64, 16, "gelu")], "dense_bias": False},
        {"pooling": "cls", "dense": DEEP, "layer_norm": True},
        {"pooling": "max", "layer_norm": True, "normalize": False},
    ],
    ids=["concatenation", "two-dense", "layer-norm"],
)
def test_chains(tmp_path: Path, adapted: Any, modules: dict[str, Any], dialect: Any):
    folder = write(tmp_path / "model", dialect=dialect, **modules)
    assert_same(adapted(folder).run(TEXTS)["sentence_embedding"], reference(folder, TEXTS))


def test_modes_are_concatenated_in_the_order_they_are_listed(tmp_path: Path, adapted: Any):
    modes = ["mean", "cls"]  # the old booleans would have it the other way round
    folder = write(tmp_path / "model", pooling=modes, dense=[(64, 8, "tanh")])
    composed = adapted(folder)
    assert composed.spec.pooling == ("MEAN", "CLS")
    assert_same(composed.run(TEXTS)["sentence_embedding"], reference(folder, TEXTS))


def normalize_first(folder: Path) -> Path:
    """Move Normalize between Pooling and Dense."""
    path = folder / "modules.json"
    transformer, pooling, dense, normalize = json.loads(path.read_text())
    path.write_text(json.dumps([transformer, pooling, normalize, dense]))
    return folder


def test_normalize_in_the_middle_stays_in_the_middle(tmp_path: Path, adapted: Any):
    folder = normalize_first(write(tmp_path / "model", dense=[(32, 24, "tanh")]))
    composed = adapted(folder)
    assert [step.kind for step in composed.spec.steps] == ["normalize", "dense"]
    assert not composed.spec.use_activation
    assert_same(composed.run(TEXTS)["sentence_embedding"], reference(folder, TEXTS))


@pytest.mark.parametrize("family", ["distilbert", "mpnet", "modernbert", "gemma3_text", "t5"])
def test_other_families_encode_alike(tmp_path: Path, adapted: Any, family: str):
    folder = write_modules(write_tiny(tmp_path / "model", family), pooling="mean", dense=[(32, 16, "tanh")])
    assert_same(adapted(folder).run(TEXTS, "left")["sentence_embedding"], reference(folder, TEXTS))


# ----------------------------------------------------------------------------------------------------- exported


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint with modules, and its bundle."""
    family, modules = EXPORTED[request.param]
    home = tmp_path_factory.mktemp(request.param)
    checkpoint = write(home / "model", family, **modules)
    export_model(ExportRequest(model=str(checkpoint), output=home / "bundle"))
    return checkpoint, home / "bundle"


def test_the_runtime_encodes_like_sentence_transformers(exported: tuple[Path, Path], open_llm: Any):
    checkpoint, bundle = exported
    outputs = open_llm(bundle).embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
    assert_same(np.stack([out.outputs.data for out in outputs]), reference(checkpoint, TEXTS))


def test_a_bundle_with_weights_beside_it_is_the_same_sentence_transformers_model(
    exported: tuple[Path, Path], tmp_path: Path
):
    checkpoint, bundle = exported
    copy = shutil.copytree(bundle, tmp_path / "copy", ignore=shutil.ignore_patterns("onnx"))
    shutil.copyfile(checkpoint / "model.safetensors", copy / "model.safetensors")
    assert_same(reference(copy, TEXTS), reference(checkpoint, TEXTS))


# ------------------------------------------------------------------------------------- the files in the bundle


def files_only(checkpoint: Path, target: Path, adapted: Any) -> Path:
    """Write what a bundle holds for sentence-transformers, and the weights, without a graph."""
    composed = adapted(checkpoint)
    target.mkdir()
    write_tokenizer(target, composed.source, composed.tokenizer, 128)
    write_config(target, composed.source, composed.spec)
    write_sentence_transformers(target, composed.source, composed.spec, TokenizerPolicy(max_length=128))
    shutil.copyfile(checkpoint / "model.safetensors", target / "model.safetensors")
    return target


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("mode", POOLING_MODES)
def test_pooling_files_parse_to_the_same_mode(tmp_path: Path, adapted: Any, mode: str, dialect: Any):
    checkpoint = write(tmp_path / "model", pooling=mode, dialect=dialect)
    model = SentenceTransformer(str(files_only(checkpoint, tmp_path / "out", adapted)), local_files_only=True)
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Normalize"]
    assert model[1].pooling_mode == mode
    assert model.max_seq_length == 128


@pytest.mark.parametrize(
    "modes", [["cls", "mean"], ["mean", "cls"], ["lasttoken", "max", "cls"]], ids=lambda modes: "+".join(modes)
)
def test_concatenation_files_keep_the_order(tmp_path: Path, adapted: Any, modes: list[str]):
    checkpoint = write(tmp_path / "model", pooling=modes, dense=[(32 * len(modes), 8, "tanh")])
    copy = files_only(checkpoint, tmp_path / "out", adapted)
    assert_same(reference(copy, TEXTS), reference(checkpoint, TEXTS))


def test_old_booleans_are_written_where_they_can_express_the_head(tmp_path: Path, adapted: Any):
    checkpoint = write(tmp_path / "model", pooling=["cls", "mean"])
    copy = files_only(checkpoint, tmp_path / "out", adapted)
    pooling = json.loads((copy / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_cls_token"] is pooling["pooling_mode_mean_tokens"] is True
    assert pooling["pooling_mode_max_tokens"] is False
    assert pooling["word_embedding_dimension"] == 32


def test_a_normalize_in_the_middle_is_written_there(tmp_path: Path, adapted: Any):
    checkpoint = normalize_first(write(tmp_path / "model", dense=[(32, 24, "tanh")]))
    copy = files_only(checkpoint, tmp_path / "out", adapted)
    assert_same(reference(copy, TEXTS), reference(checkpoint, TEXTS))


def test_prompts_left_out_of_pooling_stay_left_out(tmp_path: Path, adapted: Any):
    checkpoint = write(tmp_path / "model", include_prompt=False, prompts={"query": "the question is "})
    copy = files_only(checkpoint, tmp_path / "out", adapted)
    models = [SentenceTransformer(str(folder), local_files_only=True) for folder in (copy, checkpoint)]
    assert models[0][1].include_prompt is False
    found, wanted = (model.encode(TEXTS[:4], prompt_name="query") for model in models)
    assert_same(found, wanted)


def test_a_user_pooling_is_what_the_files_say(tmp_path: Path, adapted: Any):
    checkpoint = write(tmp_path / "model", pooling="mean")
    composed = adapted(checkpoint, pooler_config={"pooling_type": "CLS", "normalize": False})
    write_sentence_transformers(tmp_path / "out", composed.source, composed.spec, TokenizerPolicy(max_length=64))
    kinds = [entry["type"].rsplit(".", 1)[-1] for entry in json.loads((tmp_path / "out" / "modules.json").read_text())]
    assert kinds == ["Transformer", "Pooling"]
    pooling = json.loads((tmp_path / "out" / "1_Pooling" / "config.json").read_text())
    assert [key for key, value in pooling.items() if value is True] == ["pooling_mode_cls_token"]


# ------------------------------------------------------------------------------------------------------- MiniLM


@pytest.fixture(scope="module")
def minilm(minilm_folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(minilm_folder), device="cpu", local_files_only=True)


def test_minilm_agrees_on_200_real_sentences(
    minilm: SentenceTransformer, minilm_bundle: Path, open_llm: Callable[[Path], Any], record_property: Any
):
    texts = list(sentences()[:200])
    assert len(set(texts)) == 200
    outputs = open_llm(minilm_bundle).embed(texts, use_tqdm=False)
    found, wanted = np.stack([out.outputs.data for out in outputs]), minilm.encode(texts)
    record_property("max_abs", float(np.abs(found - wanted).max()))
    assert np.abs(found - wanted).max() <= TOLERANCE


def test_minilm_score_is_the_cosine_of_sentence_transformers(
    minilm: SentenceTransformer, minilm_bundle: Path, open_llm: Callable[[Path], Any]
):
    queries, documents = (list(column) for column in zip(*pairs(), strict=True))
    outputs = open_llm(minilm_bundle).score(queries, documents, use_tqdm=False)
    wanted = pairwise_cos_sim(minilm.encode(queries), minilm.encode(documents)).numpy()
    assert np.abs(np.array([out.outputs.score for out in outputs]) - wanted).max() <= TOLERANCE
