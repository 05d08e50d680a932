"""Prompts: the same vectors as sentence-transformers, whether their tokens are pooled or not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from sentence_transformers import SentenceTransformer

from pool_export import LLM
from pool_export.export.errors import ParityError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.st_files import write_modules
from pool_export.models_zoo.texts import hard_texts, sentences
from pool_export.models_zoo.tiny import write_tiny
from pool_export.poolers import methods
from pool_export.runtime.golden import read_golden
from pool_export.runtime.replay import replay

# Texts of one letter are left out: gpt2's blank behind "query:" and that letter are one token, and nothing is left.
TEXTS = [*sentences()[:12], *[text for text in hard_texts() if len(text) > 4]]
PROMPTS = {"query": "query: ", "passage": "Represent the passage for retrieval: "}
ASKED: list[dict[str, Any]] = [{}, {"prompt_name": "passage"}, {"prompt": "title: none | text: "}, {"prompt": ""}]
ALL_MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.fixture
def edit_json() -> Callable[..., None]:
    def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
        content = json.loads(path.read_text("utf-8"))
        change(content)
        path.unlink()  # it may be a link into a package
        path.write_text(json.dumps(content), "utf-8")

    return edit


def export(folder: Path, family: str, **modules: Any) -> tuple[LLM, SentenceTransformer]:
    write_modules(write_tiny(folder / "model", family, layers=1), prompts=PROMPTS, **modules)
    export_model(ExportRequest(model=str(folder / "model"), output=folder / "bundle"))
    return LLM(folder / "bundle"), SentenceTransformer(str(folder / "model"), device="cpu", local_files_only=True)


def assert_same(llm: LLM, reference: SentenceTransformer, asked: dict[str, Any]) -> None:
    outputs = llm.embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False, **asked)
    found, wanted = np.stack([item.outputs.data for item in outputs]), reference.encode(TEXTS, **asked)
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


# bert ends a text with [SEP], qwen3 with its pad token; gpt2 with nothing.
@pytest.mark.parametrize(
    ("family", "modules"),
    [
        ("bert", {"pooling": ALL_MODES, "dialect": "old", "normalize": False}),
        ("qwen3", {"pooling": "lasttoken", "dialect": "new"}),
        ("gpt2", {"pooling": "weightedmean", "dialect": "new"}),
    ],
)
def test_prompt_tokens_stay_out_of_the_pool(tmp_path: Path, family: str, modules: dict[str, Any]):
    llm, reference = export(tmp_path, family, include_prompt=False, default_prompt_name="query", **modules)
    assert llm.engine.session.input_names[-1] == "pooling_mask"
    for asked in ASKED:
        assert_same(llm, reference, asked)
    cases = read_golden(llm.engine.bundle).cases
    masked = [case for case in cases if case.pooling_mask is not None]
    assert masked
    assert all(len(case.pooling_mask or ()) == len(case.input_ids) > case.prompt_length > 0 for case in masked)
    assert replay(llm.engine).failures == []
    assert json.loads((tmp_path / "bundle/1_Pooling/config.json").read_text())["include_prompt"] is False
    # A host that does not know the input gets an error and no vector.
    session = onnxruntime.InferenceSession(str(tmp_path / "bundle/onnx/model.onnx"))
    plain = {name: np.ones((1, 4), np.int64) for name in llm.engine.session.input_names[:-1]}
    with pytest.raises(ValueError, match="pooling_mask"):
        session.run(None, plain)


def test_a_bundle_whose_prompts_are_pooled_has_the_plain_inputs(tmp_path: Path):
    llm, reference = export(tmp_path, "bert", default_prompt_name="passage")
    assert llm.engine.session.input_names == ("input_ids", "attention_mask", "token_type_ids")
    for asked in ASKED:
        assert_same(llm, reference, asked)


def test_a_graph_that_pools_the_prompt_all_the_same_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    right = methods.mean
    # The planted fault: every token of the pooling mask's row counts, the prompt's too.
    monkeypatch.setitem(
        methods.METHODS, "MEAN", lambda hidden, mask: right(hidden, (mask.cumsum(1) >= 0).to(torch.int64))
    )
    with pytest.raises(ParityError, match="sentence_embedding"):
        export(tmp_path, "bert", include_prompt=False)


def test_prompts_of_a_real_model(
    minilm_folder: Path, minilm_bundle: Path, tmp_path: Path, edit_json: Callable[..., None]
):
    settings = {"prompts": PROMPTS, "default_prompt_name": "query"}
    model = Path(shutil.copytree(minilm_folder, tmp_path / "model"))
    bundle = Path(shutil.copytree(minilm_bundle, tmp_path / "bundle"))
    edit_json(model / "config_sentence_transformers.json", lambda content: content.update(settings))
    edit_json(bundle / "pool_export.json", lambda content: content["tokenizer"].update(settings))
    llm, reference = LLM(bundle), SentenceTransformer(str(model), device="cpu", local_files_only=True)
    for asked in ASKED:
        assert_same(llm, reference, asked)


@pytest.mark.parametrize("name", ["dot", "euclidean", "manhattan"])
def test_score_is_the_similarity_sentence_transformers_computes(tmp_path: Path, name: str):
    llm, reference = export(tmp_path, "bert", similarity_fn_name=name, normalize=False)
    queries, documents = TEXTS[:4], TEXTS[4:8]
    wanted = reference.similarity_pairwise(reference.encode(queries), reference.encode(documents)).numpy()
    found = np.array([item.outputs.score for item in llm.score(queries, documents, use_tqdm=False)])
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())
