"""Rerankers made of a language model: the rows of two tokens, against the whole model's logits in float64."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForCausalLM

from pool_export import LLM, PoolingParams
from pool_export.export.errors import ParityError
from pool_export.export.language_head import TokenClassifier
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.poolers.errors import ConfigError

TEXTS = ["a", "The rain fell all night.", "东京の夜は明るい", "Is this document relevant? " * 4]
QWEN3 = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
ONE = {"classifier_from_token": ["Yes"], "method": "no_post_processing"}
TWO = {"classifier_from_token": ["0", "1"], "method": "from_2_way_softmax"}
THREE = {"classifier_from_token": ["0", "1", "Yes"], "method": "no_post_processing"}


class CausalLM:
    """The causal LM alone, in float64: token logits of one unpadded text."""

    def __init__(self, folder) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()

    def logits(self, ids) -> np.ndarray:
        with torch.inference_mode():
            return self.model(input_ids=torch.tensor([list(ids)])).logits[0].numpy()


def wanted(logits: np.ndarray, ids: list[int], method: str) -> np.ndarray:
    chosen = logits[..., ids]
    return chosen[..., 1:] - chosen[..., :1] if method == "from_2_way_softmax" else chosen


def overrides_for(family: str, keys: dict) -> dict:
    stem = {"gemma": "Gemma", "gemma2": "Gemma2", "qwen2": "Qwen2", "qwen3": "Qwen3", "cohere": "Cohere"}.get(family)
    return {**({"architectures": [f"{stem}ForSequenceClassification"]} if stem else {}), **keys}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("family", "keys", "options"),
    [
        ("qwen3", QWEN3, {}),
        ("qwen3", QWEN3, {"tie_word_embeddings": True}),
        ("qwen2", TWO, {}),
        ("qwen2", THREE, {}),
        ("gemma", ONE, {}),
        ("gemma2", ONE, {"final_logit_softcapping": 3.0}),
        ("gemma2", TWO, {"final_logit_softcapping": 3.0}),
        ("cohere", {**ONE, "classifier_from_token": ["Yes"]}, {"logit_scale": 0.25}),
        ("granite", TWO, {"logits_scaling": 6.0}),
        ("hyperclovax", TWO, {"logits_scaling": 0.5}),
        ("minicpm3", TWO, {"dim_model_base": 16}),
        ("phi", TWO, {}),  # its output layer has a bias
        ("gptj", ONE, {}),
        ("gpt_neox", TWO, {}),
        ("modernbert-decoder", {"classifier_from_token": ["y", "n"], "method": "no_post_processing"}, {}),
    ],
)
def test_a_familys_rows_are_its_own_logits(tiny_folder, adapted, gap, family, keys, options, side):
    folder = tiny_folder(family, "causal_lm", **options)
    composed = adapted(folder, convert="classify", hf_overrides=overrides_for(family, keys))
    spec, lm = composed.spec, CausalLM(folder)
    expected_labels = 1 if spec.classifier_method == "from_2_way_softmax" else len(keys["classifier_from_token"])
    assert spec.num_labels == expected_labels
    found = composed.run(TEXTS, side)
    batch = composed.batch(TEXTS, side)
    for row, mask in enumerate(batch["attention_mask"].bool()):
        logits = lm.logits(batch["input_ids"][row][mask].tolist())[-1]
        expected = wanted(logits, list(spec.classifier_token_ids), spec.classifier_method)
        assert gap(found["logits"][row], expected) < 5e-5
        two_way = np.exp(expected - expected.max()) / np.exp(expected - expected.max()).sum()
        probs = 1 / (1 + np.exp(-expected)) if len(expected) == 1 else two_way
        assert gap(found["probs"][row], probs) < 5e-5


def test_the_score_is_the_softmax_of_the_two_tokens(tiny_folder, adapted, gap):
    """Qwen3-Reranker's model card: log_softmax over [no, yes], then exp of the second."""
    folder = tiny_folder("qwen3", "causal_lm")
    composed = adapted(folder, hf_overrides=QWEN3)
    lm, ids = CausalLM(folder), composed.spec.classifier_token_ids
    vocabulary = composed.tokenizer.get_vocab()
    assert ids == (vocabulary["no"], vocabulary["yes"])
    found = composed.run(TEXTS)["probs"]
    for text, prob in zip(TEXTS, found, strict=True):
        pair = torch.tensor(lm.logits(composed.tokenizer(text)["input_ids"])[-1][list(ids)])
        assert gap(prob, torch.nn.functional.log_softmax(pair, dim=0).exp()[1:].numpy()) < 1e-5


@pytest.mark.parametrize("is_tied", [True, False])
def test_the_bundle_holds_no_vocabulary_projection(tmp_path, tiny_folder, gap, is_tied):
    folder = tiny_folder("qwen3", "causal_lm", tie_word_embeddings=is_tied)
    bundle = tmp_path / "bundle"
    result = export_model(ExportRequest(model=str(folder), output=bundle, hf_overrides=QWEN3))
    assert result.report["passed"]
    graph = onnx.load(bundle / "onnx" / "model.onnx").graph
    vocabulary = json.loads((bundle / "config.json").read_text())["vocab_size"]
    wide = [tensor for tensor in graph.initializer if vocabulary in tensor.dims]
    assert len(wide) == 1, [tensor.name for tensor in wide]
    readers = {node.op_type for node in graph.node if wide[0].name in node.input}
    assert readers == {"Gather"}
    llm, lm = LLM(bundle, threads=1), CausalLM(folder)
    (row,) = llm.score("a query", "its document")
    ids = llm.encode(["a queryits document"], pooling_task="classify")[0].prompt_token_ids
    assert row.prompt_token_ids == ids  # joined without a separator, as vLLM does once a method is set
    no, yes = (lm.logits(ids)[-1][index] for index in result.manifest.pooling.classifier_token_ids)
    assert abs(row.outputs.score - 1 / (1 + np.exp(no - yes))) < 1e-5
    config = json.loads((bundle / "config.json").read_text())
    assert (config["num_labels"], config["id2label"]) == (1, {"0": "LABEL_0"})


def test_step_tokens_of_a_causal_lm_are_a_process_reward(tmp_path, tiny_folder, gap):
    """math-shepherd's recipe: the logits of two candidate tokens wherever the step tag stands, then their softmax."""
    folder = tiny_folder("llama", "causal_lm")
    bundle = tmp_path / "bundle"
    keys = {"classifier_from_token": ["0", "1"], "method": "no_post_processing"}
    result = export_model(
        ExportRequest(
            model=str(folder),
            output=bundle,
            convert="reward",
            hf_overrides=keys,
            pooler_config={"pooling_type": "STEP", "step_tag_id": 7},
        )
    )
    lm, llm = CausalLM(folder), LLM(bundle, threads=1)
    ids = [20, 7, 21, 22, 7, 30]
    expected = lm.logits(ids)[[1, 4]][:, list(result.manifest.pooling.classifier_token_ids)]
    assert gap(llm.reward([ids])[0].outputs.data, expected) < 1e-4
    soft = llm.reward([ids], pooling_params=PoolingParams(softmax=True))[0].outputs.data
    assert gap(soft, np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)) < 1e-4


@pytest.mark.parametrize(
    ("token", "pieces"), [("absolutely not", "absolutely"), ("nope", "['no', 'p', 'e']"), ("Ġ Yes", "Yes")]
)
def test_a_token_that_is_not_one_entry_is_named(tiny_folder, adapted, token, pieces):
    keys = {**QWEN3, "classifier_from_token": ["no", token]}
    with pytest.raises(ConfigError, match="is not one entry of the vocabulary") as error:
        adapted(tiny_folder("qwen3", "causal_lm"), hf_overrides=keys)
    assert repr(token) in str(error.value)


def test_a_planted_fault_fails_the_export(tmp_path, tiny_folder, monkeypatch):
    from pool_export.export import adapters

    real = adapters.token_classifier

    def swapped(model, spec):
        head = real(model, spec)
        head.weight.data.neg_()  # true and false exchanged
        return head

    monkeypatch.setattr(adapters, "token_classifier", swapped)
    with pytest.raises(ParityError, match="alone/logits max-abs"):
        export_model(
            ExportRequest(model=str(tiny_folder("qwen3", "causal_lm")), output=tmp_path / "b", hf_overrides=QWEN3)
        )
    assert not (tmp_path / "b").exists()


def test_capping_comes_before_the_difference():
    head = TokenClassifier(torch.nn.Identity(), lambda x: torch.tanh(x / 2) * 2, True)
    value = head(torch.tensor([[1.0, 5.0]])).item()
    assert value == pytest.approx(2 * np.tanh(2.5) - 2 * np.tanh(0.5))


# ------------------------------------------------------------------------- sentence-transformers' LogitScore


@pytest.mark.parametrize("has_false", [True, False])
def test_a_logit_score_cross_encoder(tmp_path, tiny_folder, has_false):
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    folder, bundle = tmp_path / "reranker", tmp_path / "bundle"
    transformer = Transformer(str(tiny_folder("qwen3", "causal_lm")), transformer_task="text-generation")
    ids = transformer.tokenizer.convert_tokens_to_ids(["yes", "no"])
    scorer = LogitScore(ids[0], ids[1] if has_false else None)
    model = CrossEncoder(modules=[transformer, scorer])
    model.save_pretrained(str(folder))
    result = export_model(ExportRequest(model=str(folder), output=bundle))
    spec = result.manifest.pooling
    assert spec.classifier_token_ids == ((ids[1], ids[0]) if has_false else (ids[0],))
    assert spec.sources["classifier_method"] == "sentence_transformers"
    pairs = [("a query", "a document"), ("东京", "rain"), ("q", "a much longer document " * 3)]
    expected = model.predict(pairs)
    found = [row.outputs.score for row in LLM(bundle, threads=1).score(*map(list, zip(*pairs, strict=True)))]
    assert np.abs(np.array(found) - expected).max() < 1e-5
