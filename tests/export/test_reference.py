"""The oracle itself, on arithmetic done by hand, and without help from the code it judges."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pool_export.export import reference
from pool_export.export.oracle import POOLED
from pool_export.export.reference import Reference
from pool_export.models_zoo.st_files import write_modules
from pool_export.models_zoo.tiny import write_tiny
from pool_export.poolers.spec import POOLING_TYPES

STATES = np.array([[1.0, 8.0], [2.0, 0.0], [6.0, 4.0], [7.0, 4.0]])

BY_HAND = {
    "LAST": [7.0, 4.0],
    "CLS": [1.0, 8.0],
    "MEAN": [4.0, 4.0],
    "MAX": [7.0, 8.0],
    "MEAN_SQRT_LEN": [8.0, 8.0],
    "WEIGHTED_MEAN": [(1 + 4 + 18 + 28) / 10, (8 + 0 + 12 + 16) / 10],
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_pooling_by_hand(kind: Any):
    np.testing.assert_allclose(POOLED[kind](STATES), BY_HAND[kind], rtol=1e-12)


def test_every_pooling_type_has_a_definition():
    assert set(POOLED) == set(POOLING_TYPES) - {"SPLADE"}  # pools logits, see test_sparse_encoder.py
    for kind in ("ALL", "STEP"):
        np.testing.assert_array_equal(POOLED[kind](STATES), STATES)


def test_the_oracle_shares_no_arithmetic_with_the_graph():
    tree = ast.parse(Path(str(reference.__file__)).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"poolers.methods", "poolers.heads", "poolers.pooler"}
    shared = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("adapters", "classifiers")
        for name in node.names
    }
    assert shared == {"find_classifier", "input_names", "step_weights"}, "file reading and names only"


# ------------------------------------------------------------------------------------------------- whole models


def _oracle(adapted: Any, folder: Path, **options: Any) -> Reference:
    composed = adapted(folder, **options)
    return Reference(composed.source, composed.model, composed.spec)


def test_answers_are_float64_and_have_no_batch_axis(tmp_path: Path, adapted: Any):
    folder = write_modules(write_tiny(tmp_path, "bert", layers=1), dense=[(32, 8, "tanh")])
    outputs = _oracle(adapted, folder).outputs([5, 6, 7], [0, 0, 0])
    assert {name: value.shape for name, value in outputs.items()} == {
        "sentence_embedding": (8,),
        "last_hidden_state": (3, 32),
        "unnormalized_embedding": (8,),
        "token_embeddings": (3, 8),
    }
    assert {value.dtype for value in outputs.values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    ("head", "options", "outputs"),
    [
        ("sequence_3", {}, {"logits": (3,), "probs": (3,)}),
        ("sequence_1", {}, {"logits": (1,), "probs": (1,)}),
        ("token_5", {}, {"logits": (4, 5), "probs": (4, 5)}),
        ("sequence_1", {"convert": "reward"}, {"rewards": (4, 1)}),
        ("base", {"convert": "reward"}, {"rewards": (4, 32)}),
        (
            "base",
            {"pooler_config": {"pooling_type": "ALL"}},
            {"token_embeddings": (4, 32), "last_hidden_state": (4, 32)},
        ),
    ],
)
def test_answers_have_the_names_of_the_graph(
    tiny_folder: Any, adapted: Any, head: str, options: dict[str, Any], outputs: dict[str, tuple[int, ...]]
):
    found = _oracle(adapted, tiny_folder("bert", head, layers=1), **options).outputs([5, 6, 7, 8], [0, 0, 1, 1])
    assert {name: value.shape for name, value in found.items()} == outputs


def test_an_encoder_classifier_is_judged_by_the_classs_own_forward(tiny_folder: Any, adapted: Any):
    oracle = _oracle(adapted, tiny_folder("distilbert", "sequence_3", layers=1))
    oracle.model.forward = lambda **inputs: type("Output", (), {"logits": torch.tensor([[1.0, 2.0, 3.0]])})()
    assert oracle.outputs([5, 6], [0, 0])["logits"].tolist() == [1.0, 2.0, 3.0]


def test_a_classifier_with_another_pooling_is_composed(tiny_folder: Any, adapted: Any):
    folder = tiny_folder("distilbert", "sequence_3", layers=1)
    last = _oracle(adapted, folder, pooler_config={"pooling_type": "LAST"}).outputs([5, 6, 7], [0] * 3)["logits"]
    model = adapted(folder).model
    with torch.inference_mode():
        state = model.distilbert(torch.tensor([[5, 6, 7]])).last_hidden_state[0, -1]
        wanted = model.classifier(torch.relu(model.pre_classifier(state)))
    np.testing.assert_allclose(last, wanted.numpy(), atol=1e-6)


def test_calibration_comes_before_the_activation(tiny_folder: Any, adapted: Any):
    config = {"logit_mean": 0.25, "logit_sigma": 2.0}
    outputs = _oracle(adapted, tiny_folder("bert", "sequence_1", layers=1), pooler_config=config).outputs(
        [5, 6], [0, 0]
    )
    wanted = 1 / (1 + np.exp(-(outputs["logits"] - 0.25) / 2))
    np.testing.assert_allclose(outputs["probs"], wanted, rtol=1e-12)


def test_eurobert_averages_the_logits_of_its_tokens(tiny_folder: Any, adapted: Any):
    """`late` is the library's default and every published checkpoint's: judged by the class's own forward."""
    folder = tiny_folder("eurobert", "sequence_3", layers=1, classifier_pooling="late")
    composed = adapted(folder)
    oracle = Reference(composed.source, composed.model, composed.spec)
    texts = ["a", "the quick brown fox", "one two three four five six seven"]
    for side in ("left", "right"):
        rows = composed.run(texts, side)["logits"]
        for text, row in zip(texts, rows, strict=True):
            ids = composed.tokenizer(text)["input_ids"]
            wanted = oracle.outputs(ids, [0] * len(ids))["logits"]
            np.testing.assert_allclose(row, wanted, atol=1e-5)
    # The head is not linear: the mean of the states through it is another answer.
    states = _oracle(adapted, folder, pooler_config={"pooling_type": "MEAN"}).outputs(ids, [0] * len(ids))["logits"]
    assert np.abs(states - wanted).max() > 1e-3


@pytest.mark.parametrize("stated", ["bos", "mean"])
def test_eurobert_may_pool_its_states(tiny_folder: Any, adapted: Any, stated: str):
    composed = adapted(tiny_folder("eurobert", "sequence_3", layers=1, classifier_pooling=stated))
    oracle = Reference(composed.source, composed.model, composed.spec)
    assert oracle._is_native()
    ids = composed.tokenizer("one two three")["input_ids"]
    wanted = oracle.outputs(ids, [0] * len(ids))["logits"]
    np.testing.assert_allclose(composed.run(["one two three"])["logits"][0], wanted, atol=1e-5)
