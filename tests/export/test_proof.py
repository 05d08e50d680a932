"""The cards' claims hold on tiny checkpoints, and a wrong claim is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pool_export.export.proof import OWN_HEADS, Recipe, prove, prove_export, recipe
from pool_export.models_zoo.card import ModelCard
from pool_export.models_zoo.catalog import card, cards
from pool_export.poolers.errors import ConfigError
from pool_export.runtime.bundle import open_bundle


def test_every_native_card_is_right_about_its_architecture(tmp_path: Path):
    proofs = list(prove(cards().values(), tmp_path))
    assert [f"{proof.card}: {proof.problems}" for proof in proofs if proof.problems] == []
    assert [proof.card for proof in proofs] == list(cards())
    for proof in proofs:
        said = card(proof.card)
        assert bool(proof.skipped) == (said.export != "native")
        if proof.skipped:
            assert proof.skipped == f"{said.export}: {said.export_reason}"
    assert len({proof.group for proof in proofs if proof.group}) >= 25


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"pooling_type": "LAST", "pooler_config": {"pooling_type": "CLS"}}, "pooling_type: the card says ('LAST',)"),
        ({"convert": "classify", "embedding_size": None, "matryoshka": ()}, "convert: the card says classify"),
        ({"num_labels": 3}, "num_labels: the card says 3, its tiny checkpoint resolves to None"),
        ({"pooling_type": "STEP"}, "pooling type STEP needs step_tag_id"),
        ({"architecture": "RobertaModel"}, "architecture RobertaModel is not what bert/base builds: BertModel"),
        ({"model_type": "internlm2"}, "no tiny checkpoint of model_type 'internlm2'"),
    ],
)
def test_a_wrong_claim_is_named(wrong: dict[str, Any], problem: str, tmp_path: Path):
    lie = dataclasses.replace(card("intfloat/e5-small"), **wrong)
    (proof,) = prove([lie], tmp_path)
    assert any(problem in found for found in proof.problems), proof.problems


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("intfloat/e5-small", Recipe("bert", "base")),
        ("Qwen/Qwen3-Embedding-0.6B", Recipe("qwen3", "causal_lm")),
        ("BAAI/bge-reranker-v2-m3", Recipe("xlm-roberta", "sequence_1", 1)),
        ("SamLowe/roberta-base-go_emotions", Recipe("roberta", "sequence_3", 28)),
        ("dslim/bert-base-NER", Recipe("bert", "token_5", 9)),
        ("sentence-transformers/sentence-t5-base", Recipe("t5", "base")),
        ("Qwen/Qwen3-Reranker-0.6B", Recipe("qwen3", "causal_lm", max_length=512)),
    ],
)
def test_recipes(name: str, expected: Recipe):
    assert recipe(card(name)) == expected


def test_a_head_of_its_own_tensors_is_written_beside_the_backbone(tmp_path: Path):
    said = dataclasses.replace(card("Qwen/Qwen2.5-Math-PRM-7B"), export="native", export_reason="")
    assert recipe(said) == Recipe("qwen2", "base", 2, "Qwen2ForProcessRewardModel")
    (proof,) = prove([said], tmp_path)
    assert proof.problems == ()
    assert proof.group == "qwen2/base Qwen2ForProcessRewardModel reward STEP raw labels"
    folder = tmp_path / recipe(said).name
    tensors = load_file(folder / "model.safetensors")
    assert {name: tuple(tensors[name].shape) for name in OWN_HEADS["Qwen2ForProcessRewardModel"]} == {
        "score.0.weight": (32, 32), "score.0.bias": (32,), "score.2.weight": (2, 32), "score.2.bias": (2,),
    }  # fmt: skip
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen2ForProcessRewardModel"]


def test_an_architecture_without_a_recipe_is_an_error():
    with pytest.raises(ConfigError, match="no tiny checkpoint of model_type 'jina-vl'"):
        recipe(dataclasses.replace(card("intfloat/e5-small"), model_type="jina-vl"))


def test_a_tiny_export_passes_the_gate_with_the_card_in_its_manifest(tmp_path: Path):
    said: ModelCard = card("intfloat/e5-small")
    report = prove_export(said, tmp_path)
    assert report["passed"] is True
    manifest = open_bundle(tmp_path / "bundles" / "intfloat--e5-small").manifest
    assert manifest.card is not None
    assert manifest.card.id == "intfloat/e5-small"
    assert manifest.card.filled["pooling_type"] == "MEAN"
    assert manifest.card.hazards == ("prompt_required",)
    assert (manifest.pooling.pooling, manifest.pooling.sources["pooling"]) == (("MEAN",), "card")
    assert manifest.tokenizer.prompts == {"query": "query: ", "passage": "passage: "}
    assert manifest.source.licence == "MIT"
