"""Conversions on any backbone, and the layouts of a classification head: bias, function, problem type, pooling."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from pool_export.export.errors import ParityError, SourceError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.tiny import write_tiny

TEXTS = ["a", "The rain fell all night.", "東京, and the trains ran on."]
BIAS = torch.tensor([0.5, -1.0, 2.0])


def rewrite(folder, tensors=None, **config):
    """Add tensors and config keys to a checkpoint (``None`` takes a key away)."""
    path = folder / "config.json"
    stated = {**json.loads(path.read_text()), **config}
    path.write_text(json.dumps({key: value for key, value in stated.items() if value is not None}))
    weights = {**load_file(folder / "model.safetensors"), **(tensors or {})}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def last_states(folder, composed) -> np.ndarray:
    backbone = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    rows = []
    for text in TEXTS:
        with torch.inference_mode():
            tokens = composed.tokenizer(text, return_tensors="pt")
            rows.append(backbone(input_ids=tokens["input_ids"]).last_hidden_state[0, -1].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt2"])
def test_a_score_with_a_bias(tmp_path, adapted, gap, family):
    """transformers' decoder classes have none and would leave it out; vLLM adds it, and so does the export."""
    folder = rewrite(write_tiny(tmp_path / "m", family, "sequence_3"), {"score.bias": BIAS})
    composed = adapted(folder)
    weight = load_file(folder / "model.safetensors")["score.weight"].double().numpy()
    wanted = last_states(folder, composed) @ weight.T + BIAS.double().numpy()
    assert gap(composed.run(TEXTS, "left")["logits"], wanted) < 5e-5
    assert gap(composed.run(TEXTS, "right")["logits"], wanted) < 5e-5


def test_a_bias_of_another_size_is_refused(tmp_path, adapted):
    folder = rewrite(write_tiny(tmp_path / "m", "qwen2", "sequence_3"), {"score.bias": BIAS[:2].clone()})
    with pytest.raises(SourceError, match=r"score.bias has shape \(2,\)"):
        adapted(folder)


def test_tensors_of_the_head_without_a_place_are_named(tmp_path, adapted):
    folder = rewrite(write_tiny(tmp_path / "m", "bert", "sequence_3"), {"classifier.dense.weight": torch.zeros(2, 2)})
    with pytest.raises(SourceError, match=r"BertForSequenceClassification has no place for .* classifier.dense.weight"):
        adapted(folder)


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt_neox"])
def test_a_causal_lm_with_a_score_becomes_a_classifier(tmp_path, tiny_folder, adapted, gap, family):
    """vLLM: any `*ForCausalLM` with `score.weight` and `--convert classify`."""
    causal = json.loads((tiny_folder(family, "causal_lm") / "config.json").read_text())["architectures"]
    folder = rewrite(write_tiny(tmp_path / "m", family, "sequence_1"), architectures=causal)
    composed = adapted(folder, convert="classify")
    weight = load_file(folder / "model.safetensors")["score.weight"].double().numpy()
    logits = last_states(folder, composed) @ weight.T
    found = composed.run(TEXTS, "left")
    assert gap(found["logits"], logits) < 5e-5
    assert gap(found["probs"], 1 / (1 + np.exp(-logits))) < 1e-5


@pytest.mark.parametrize("convert", ["embed", "reward"])
def test_a_classifiers_backbone_embeds(tmp_path, adapted, gap, convert):
    folder = write_tiny(tmp_path / "m", "qwen2", "sequence_3")
    composed = adapted(folder, convert=convert)
    found, states = composed.run(TEXTS), last_states(folder, composed)
    if convert == "embed":
        assert gap(found["sentence_embedding"], states / np.linalg.norm(states, axis=1, keepdims=True)) < 1e-5
    else:
        weight = load_file(folder / "model.safetensors")["score.weight"].double().numpy()
        last = [
            row[mask.bool().numpy()][-1]
            for row, mask in zip(found["rewards"], composed.batch(TEXTS)["attention_mask"], strict=True)
        ]
        assert gap(np.stack(last), states @ weight.T) < 5e-5


FUNCTIONS = {
    "linear.Identity": torch.nn.Identity(),
    "activation.Tanh": torch.nn.Tanh(),
    "activation.ReLU": torch.nn.ReLU(),
    "activation.GELU": torch.nn.GELU(),
    "activation.SiLU": torch.nn.SiLU(),
    "activation.Sigmoid": torch.nn.Softmax(dim=-1),  # by the width: three labels
    "activation.Softmax": torch.nn.Softmax(dim=-1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_saved_function(tiny_folder, adapted, gap, name):
    keys = {"sentence_transformers": {"activation_fn": f"torch.nn.modules.{name}"}}
    found = adapted(tiny_folder("roberta", "sequence_3"), hf_overrides=keys).run(TEXTS)
    assert gap(found["probs"], FUNCTIONS[name](torch.from_numpy(found["logits"])).numpy()) < 1e-6


@pytest.mark.parametrize(
    ("problem", "head", "function"),
    [
        ("regression", "sequence_1", torch.nn.Identity()),
        ("regression", "sequence_3", torch.nn.Identity()),
        ("multi_label_classification", "sequence_3", torch.nn.Sigmoid()),
        ("single_label_classification", "sequence_3", torch.nn.Softmax(dim=-1)),
    ],
)
def test_problem_types_on_any_backbone(tiny_folder, adapted, gap, problem, head, function):
    for family in ("bert", "qwen2"):
        found = adapted(tiny_folder(family, head), hf_overrides={"problem_type": problem}).run(TEXTS)
        assert gap(found["probs"], function(torch.from_numpy(found["logits"])).numpy()) < 1e-6


def test_calibration_in_the_graph_by_hand(tiny_folder, adapted, gap):
    pooler = {"logit_mean": 0.5, "logit_sigma": 2.0}
    found = adapted(tiny_folder("bert", "sequence_1"), pooler_config=pooler).run(TEXTS)
    assert gap(found["probs"], 1 / (1 + np.exp(-(found["logits"].astype(float) - 0.5) / 2.0))) < 1e-6
    older = adapted(tiny_folder("bert", "sequence_1"), pooler_config={"logit_bias": 0.5, "logit_sigma": 2.0}).run(TEXTS)
    assert np.array_equal(found["probs"], older["probs"])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_modernberts_classifier_pooling(tmp_path, adapted, gap, pooling):
    folder = rewrite(write_tiny(tmp_path / "m", "modernbert", "sequence_3"), classifier_pooling=pooling)
    composed = adapted(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64).eval()
    found = composed.run(TEXTS, "left")["logits"]
    for text, logits in zip(TEXTS, found, strict=True):
        with torch.inference_mode():
            tokens = {
                key: value for key, value in composed.tokenizer(text, return_tensors="pt").items() if "type" not in key
            }
            assert gap(logits, model(**tokens).logits[0].numpy()) < 5e-5


def test_a_bias_left_out_of_the_graph_fails_the_export(tmp_path, monkeypatch):
    from pool_export.export import adapters

    real = adapters.find_classifier

    def without_bias(model):
        layer = real(model)
        plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
        plain.weight = layer.weight
        return plain

    monkeypatch.setattr(adapters, "find_classifier", without_bias)
    folder = rewrite(write_tiny(tmp_path / "m", "qwen2", "sequence_3"), {"score.bias": BIAS})
    with pytest.raises(ParityError, match="alone/logits max-abs"):
        export_model(ExportRequest(model=str(folder), output=tmp_path / "b"))
