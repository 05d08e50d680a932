"""Whole adoptions: what others exported becomes a bundle that answers what transformers answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sentence_transformers import SentenceTransformer

from pool_export import LLM
from pool_export.export.adopt import surgery
from pool_export.export.adopt.pipeline import adopt_model
from pool_export.export.errors import ExportError, ParityError
from pool_export.export.reporting import ExportResult
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.texts import hard_texts, pairs, sentences
from pool_export.runtime.replay import replay

from .conftest import Plain, edit_graph, write_plain

Adopt = Callable[..., ExportResult]

TEXTS = ["a", "hello there", *sentences()[:6]]


def worst(result: ExportResult) -> float:
    return max(figure["max_abs"] for case in result.report["cases"].values() for figure in case.values())


# ------------------------------------------------------------------------------------------- against transformers


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("bert", {}),
        ("bert", {"file": "model.onnx", "opset": 14}),
        ("bert", {"dynamo": True}),
        ("roberta", {}),
        ("mpnet", {}),
        ("modernbert", {}),
        ("qwen3", {"positions": True}),
        ("gpt2", {"positions": True}),
        ("llama", {}),
        ("roberta", {"positions": True}),
    ],
)
def test_states_are_pooled_as_the_files_say(
    family: str, options: dict[str, Any], plain: Plain, adopt: Adopt, oracle: Callable[..., Any], gap: Any
) -> None:
    result = adopt(plain(family, **options))
    kind = result.manifest.pooling.pooling[0]
    reference = oracle(family)
    answers = LLM(result.folder).embed(TEXTS, use_tqdm=False)
    for text, answer in zip(TEXTS, answers, strict=True):
        states = reference.states(reference.tokens(text))
        pooled = {"CLS": states[0], "LAST": states[-1], "MEAN": states.mean(axis=0)}[kind]
        assert gap(answer.outputs.embedding, pooled / np.linalg.norm(pooled)) < 1e-5


@pytest.mark.parametrize(
    ("family", "head", "options"),
    [
        ("bert", "sequence_3", {"opset": 11}),
        ("bert", "sequence_1", {}),
        ("distilbert", "sequence_3", {}),
        ("roberta", "sequence_1", {}),
        ("bert", "token_5", {}),
        ("qwen3", "sequence_1", {}),
    ],
)
def test_logits_are_the_models_own(
    family: str,
    head: str,
    options: dict[str, Any],
    plain: Plain,
    adopt: Adopt,
    oracle: Callable[..., Any],
    gap: Any,
) -> None:
    result = adopt(plain(family, head, **options))
    assert [item.name for item in result.manifest.graphs["fp32"].outputs] == ["logits", "probs"]
    reference, llm = oracle(family, head), LLM(result.folder)
    for text in TEXTS:
        wanted = torch.from_numpy(reference.logits(reference.tokens(text)))
        probs = wanted.sigmoid() if wanted.shape[-1] == 1 else wanted.softmax(-1)
        if result.manifest.pooling.is_token_level:
            (answer,) = llm.encode(text, pooling_task="token_classify", use_tqdm=False)
            assert gap(answer.outputs.data, probs.numpy()) < 1e-5
        else:
            (answer,) = llm.classify(text, use_tqdm=False)
            assert gap(answer.outputs.probs, probs.numpy()) < 1e-5


def test_a_cross_encoder_scores_pairs(plain: Plain, adopt: Adopt, oracle: Callable[..., Any], gap: Any) -> None:
    llm, reference = LLM(adopt(plain("bert", "sequence_1")).folder), oracle("bert", "sequence_1")
    for query, document in pairs()[:4]:
        (answer,) = llm.score(query, document, use_tqdm=False)
        logit = reference.logits(reference.tokens(query, document))
        assert gap([answer.outputs.score], 1 / (1 + np.exp(-logit))) < 1e-5


def test_token_rewards_of_an_existing_export(plain: Plain, adopt: Adopt, oracle: Callable[..., Any], gap: Any) -> None:
    llm, reference = LLM(adopt(plain("bert", "token_5"), convert="reward").folder), oracle("bert", "token_5")
    (answer,) = llm.reward("hello there", use_tqdm=False)
    assert gap(answer.outputs.data, reference.logits(reference.tokens("hello there"))) < 1e-5


@pytest.mark.parametrize("kind", ["LAST", "CLS", "MEAN", "MAX", "MEAN_SQRT_LEN", "WEIGHTED_MEAN", "ALL"])
@pytest.mark.parametrize("opset", [14, 18])
def test_every_pooling_type_agrees_with_its_definition(kind: str, opset: int, plain: Plain, adopt: Adopt) -> None:
    # The gate itself: oracle and graph share no pooling code, and padding lies on both sides.
    result = adopt(plain("bert", opset=opset), pooler_config={"pooling_type": kind})
    assert result.report["passed"]
    assert result.manifest.pooling.pooling == (kind,)
    assert worst(result) < 1e-5


# ------------------------------------------------------------------------------------------- sentence-transformers


@pytest.mark.parametrize(
    "modules",
    [
        {"pooling": "mean", "normalize": True, "dialect": "old"},
        {"pooling": "cls", "normalize": False},
        {"pooling": "weightedmean"},
        {"pooling": ["mean", "max"]},
        {"pooling": "mean", "dense": [(32, 16, "tanh"), (16, 8, "gelu")]},
        {"pooling": "lasttoken", "dense": [(32, 16, "silu")], "dense_bias": False, "layer_norm": True},
    ],
    ids=str,
)
def test_the_whole_head_of_sentence_transformers(
    modules: dict[str, Any], st_export: Plain, adopt: Adopt, gap: Any
) -> None:
    folder = st_export(**modules)
    result = adopt(folder)
    wanted = SentenceTransformer(str(folder.parent / "checkpoint"), device="cpu").encode(TEXTS)
    found = [item.outputs.embedding for item in LLM(result.folder).embed(TEXTS, use_tqdm=False)]
    assert gap(np.array(found), wanted) < 1e-5


def test_an_export_that_pools_by_itself_is_checked_against_the_files(st_export: Plain, adopt: Adopt) -> None:
    outputs = ("token_embeddings", "sentence_embedding")  # pools the mean
    assert adopt(st_export(outputs, pooling="mean")).report["passed"]
    with pytest.raises(ParityError, match=r"sentence_embedding of its own.*pooling MAX from sentence_transformers"):
        adopt(st_export(outputs, pooling="max"), force=True)


def test_lower_casing_and_prompts_come_along(st_export: Plain, adopt: Adopt) -> None:
    folder = st_export(pooling="mean", do_lower_case=True, prompts={"query": "query: "}, max_seq_length=32)
    result = adopt(folder)
    assert result.manifest.tokenizer.prompts["query"] == "query: "
    assert result.manifest.tokenizer.max_length == 32
    wanted = SentenceTransformer(str(folder.parent / "checkpoint"), device="cpu").encode(["HELLO There"])
    (found,) = LLM(result.folder).embed("HELLO There", use_tqdm=False)
    np.testing.assert_allclose(found.outputs.embedding, wanted[0], atol=1e-5)


def test_minilm_agrees_with_sentence_transformers(minilm_folder: Path, adopt: Adopt, tmp_path: Path) -> None:
    result = adopt(write_plain(tmp_path / "minilm", minilm_folder, "BertModel"))
    texts = [text for text in (*sentences()[:48], *hard_texts()) if text]
    assert len(texts) > 50
    wanted = SentenceTransformer(str(minilm_folder), device="cpu").encode(texts)
    found = LLM(result.folder).embed(texts, truncate_prompt_tokens=-1, use_tqdm=False)
    assert np.abs(np.array([item.outputs.embedding for item in found]) - wanted).max() < 1e-5


# -------------------------------------------------------------------------------------------------- the bundle


def test_the_bundle_says_what_it_was_made_from(plain: Plain, adopt: Adopt) -> None:
    result = adopt(plain("bert", file="model.onnx", opset=14))
    manifest = json.loads((result.folder / "pool_export.json").read_text("utf-8"))
    assert manifest["source"]["adopted_from"] == "model.onnx"
    assert manifest["graphs"]["fp32"]["opset"] == 14
    assert manifest["graphs"]["fp32"]["parity"]["reference"] == "the original ONNX graph (not torch)"
    assert not {"torch", "transformers"} & set(manifest["producer"])
    card = (result.folder / "README.md").read_text("utf-8")
    assert "adopted from the ONNX file `model.onnx`" in card
    assert "## Parity with the original ONNX graph (not torch)" in card
    assert replay(LLM(result.folder).engine).passed


def test_the_graph_obeys_the_contract(plain: Plain, adopt: Adopt) -> None:
    result = adopt(plain("bert", opset=14))
    model = onnx.load(result.folder / "onnx/model.onnx")
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    rows = ["batch_size", "sequence_length"]
    assert shapes == {
        "input_ids": rows, "attention_mask": rows, "token_type_ids": rows,
        "sentence_embedding": ["batch_size", 32], "last_hidden_state": [*rows, 32],
        "unnormalized_embedding": ["batch_size", 32],
    }  # fmt: skip
    assert {value.type.tensor_type.elem_type for value in model.graph.input} == {onnx.TensorProto.INT64}
    assert not [node.name for node in model.graph.node if node.doc_string]
    metadata = {item.key: item.value for item in model.metadata_props}
    assert metadata["pool_export.pooling_type"] == "CLS"


def test_int32_inputs_become_int64(plain: Plain, adopt: Adopt) -> None:
    result = adopt(plain("bert", dtype=torch.int32))
    assert {item.dtype for item in result.manifest.graphs["fp32"].inputs} == {"int64"}
    assert result.report["passed"]


def test_external_data_is_taken_in(plain: Plain, adopt: Adopt, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain("bert"), tmp_path / "external"))
    model = onnx.load(folder / "onnx/model.onnx")
    onnx.save(
        model, folder / "onnx/model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=64
    )
    assert (folder / "onnx/model.onnx_data").stat().st_size > 10_000
    result = adopt(folder)
    shutil.rmtree(folder)
    assert LLM(result.folder).embed("hello", use_tqdm=False)[0].outputs.embedding
    assert [file.path for file in result.manifest.graphs["fp32"].files] == ["onnx/model.onnx"]


def test_a_shorter_limit_and_overrides_are_kept(plain: Plain, adopt: Adopt) -> None:
    overrides = {"matryoshka_dimensions": [8, 16]}
    result = adopt(plain("bert"), max_model_len=16, hf_overrides=overrides)
    assert result.manifest.tokenizer.max_length == 16
    assert result.manifest.pooling.matryoshka_dimensions == (8, 16)
    assert json.loads((result.folder / "config.json").read_text("utf-8"))["matryoshka_dimensions"] == [8, 16]


# ------------------------------------------------------------------------------------------------- planted faults


def test_a_wrong_head_fails_the_gate(
    plain: Plain, adopt: Adopt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pool_export.export.adopt import head

    monkeypatch.setitem(head.METHODS, "CLS", head.METHODS["MEAN"])
    with pytest.raises(ParityError, match="alone/sentence_embedding max-abs"):
        adopt(plain("bert"))
    assert not (tmp_path / "bundle").exists()


def test_without_the_roll_left_padding_fails_the_gate(
    plain: Plain, adopt: Adopt, monkeypatch: pytest.MonkeyPatch
) -> None:
    # BERT's own export counts positions from the left edge: this is what the surgery is for.
    op = surgery.Builder.op

    def unrolled(self: Any, kind: str, *inputs: Any, **attributes: Any) -> Any:
        if kind == "ArgMax" and self.part == "inputs":
            return op(self, "Mul", op(self, kind, *inputs, **attributes), self.integer(0))
        return op(self, kind, *inputs, **attributes)

    monkeypatch.setattr(surgery.Builder, "op", unrolled)
    with pytest.raises(ParityError, match=r"padded/.*Alone every text agrees, so the original graph itself"):
        adopt(plain("bert"))


def test_a_mismatch_can_be_allowed_and_is_recorded(plain: Plain, adopt: Adopt, monkeypatch: pytest.MonkeyPatch) -> None:
    from pool_export.export.adopt import head

    monkeypatch.setitem(head.METHODS, "CLS", head.METHODS["MEAN"])
    result = adopt(plain("bert"), allow_mismatch=True)
    assert not result.manifest.graphs["fp32"].parity["passed"]


def test_an_export_that_ignores_its_mask_is_refused_with_the_reason(plain: Plain, adopt: Adopt, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain("bert"), tmp_path / "deaf"))

    def ignore_mask(model: onnx.ModelProto) -> None:
        ones = onnx.helper.make_node("Sub", ["attention_mask", "attention_mask"], ["zeros"])
        one = onnx.helper.make_node("Constant", [], ["one"], value_int=1)
        full = onnx.helper.make_node("Add", ["zeros", "one"], ["full_mask"])
        for node in model.graph.node:
            node.input[:] = ["full_mask" if name == "attention_mask" else name for name in node.input]
        for made in (full, one, ones):
            model.graph.node.insert(0, made)

    edit_graph(folder / "onnx/model.onnx", ignore_mask)
    with pytest.raises(ParityError, match=r"batched/.*lets the padding or the neighbours of a text change its answer"):
        adopt(folder)


# -------------------------------------------------------------------------------------------------- without torch


def test_adopting_loads_neither_torch_nor_transformers(plain: Plain, tmp_path: Path) -> None:
    probe = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from pool_export.export.adopt.pipeline import adopt_model\n"
        "from pool_export.export.request import ExportRequest\n"
        "result = adopt_model(ExportRequest(model=sys.argv[1], output=Path(sys.argv[2])))\n"
        "heavy = {'torch', 'transformers', 'optimum', 'onnxscript', 'sentence_transformers'}\n"
        "print(json.dumps(sorted(heavy & {name.split('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, str(plain("bert")), str(tmp_path / "bundle")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert (tmp_path / "bundle/pool_export.json").is_file()


def test_a_target_that_is_no_bundle_stays(plain: Plain, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/mine.txt").write_text("keep")
    with pytest.raises(ExportError, match="is not a bundle"):
        adopt_model(ExportRequest(model=str(plain("bert")), output=tmp_path / "bundle", force=True))
    assert (tmp_path / "bundle/mine.txt").read_text() == "keep"
