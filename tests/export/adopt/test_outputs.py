"""The task a graph was exported for, against the task that the files and options ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export import LLM
from pool_export.export.errors import ExportError
from pool_export.poolers.errors import ConfigError

Toy = Callable[..., Path]

LOGITS = {"outputs": "float[batch, 4] logits", "body": "logits = Gather <axis = 1> (table, input_ids)"}
CLASSIFIER: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "a", "1": "b", "2": "c", "3": "d"},
}
TAGGER = {**CLASSIFIER, "architectures": ["BertForTokenClassification"]}


@pytest.mark.parametrize("name", ["last_hidden_state", "token_embeddings", "hidden_states"])
def test_states_under_each_known_name(name: str, toy: Toy, adopt: Any) -> None:
    folder = toy(outputs=f"float[batch, length, 4] {name}", body=f"{name} = Gather (table, input_ids)")
    result = adopt(folder, pooler_config={"pooling_type": "MEAN"})
    assert result.report["passed"]
    assert "last_hidden_state" in [item.name for item in result.manifest.graphs["fp32"].outputs]


@pytest.mark.parametrize(
    ("config", "graph", "options", "message"),
    [
        ({}, LOGITS, {}, "answers logits, expected one of last_hidden_state.*exported with a head"),
        (
            {},
            {"outputs": "float[batch, 4] sentence_embedding", "body": "sentence_embedding = Gather (table, input_ids)"},
            {},
            "it pools inside, and the tokens' states cannot be had from it",
        ),
        (
            {},
            {"outputs": "float[batch, length, 4] output_0", "body": "output_0 = Gather (table, input_ids)"},
            {},
            "answers output_0, expected one of last_hidden_state, token_embeddings, hidden_states",
        ),
        (CLASSIFIER, {}, {}, "answers last_hidden_state, expected logits for convert=classify.*--convert embed"),
        (CLASSIFIER, LOGITS, {"convert": "embed"}, "expected one of last_hidden_state.*--task feature-extraction"),
        (CLASSIFIER, LOGITS, {"convert": "reward"}, "one row of logits for each text.*pooling ALL needs one for each"),
        (
            CLASSIFIER,
            LOGITS,
            {"pooler_config": {"pooling_type": "MEAN"}},
            "pooling MEAN was asked for, but .* pools inside",
        ),
        ({**CLASSIFIER, "id2label": {"0": "a"}}, LOGITS, {}, r"logits has shape \['batch', '4'\].*'batch_size', 1"),
        (
            TAGGER,
            {"outputs": "float[batch, length, 4] logits", "body": "logits = Gather (table, input_ids)"},
            {"pooler_config": {"pooling_type": "CLS"}},
            "one row of logits for each token .BertForTokenClassification., and pooling CLS",
        ),
        ({"hidden_size": 8}, {}, {}, r"last_hidden_state has shape .*config.json makes it .*8"),
    ],
)
def test_a_graph_of_another_task_is_refused(
    config: dict[str, Any], graph: dict[str, Any], options: dict[str, Any], message: str, toy: Toy, adopt: Any
) -> None:
    folder = toy(config=None, **graph)
    from .conftest import edit_json

    edit_json(folder / "config.json", **config)
    with pytest.raises(ExportError, match=message):
        adopt(folder, **options)


def test_a_generative_architecture_needs_a_conversion(toy: Toy, adopt: Any) -> None:
    folder = toy(config={"architectures": ["BertForCausalLM"], "is_decoder": True})
    with pytest.raises(ConfigError, match="is not a pooling model by itself; pass --convert"):
        adopt(folder)
    assert adopt(folder, convert="embed").manifest.pooling.pooling == ("LAST",)


def test_numbers_by_hand(toy: Toy, adopt: Any) -> None:
    folder = toy()
    result = adopt(folder, pooler_config={"pooling_type": "MEAN", "normalize": False})
    from .conftest import toy_model

    table = np.frombuffer(toy_model().graph.initializer[0].raw_data, np.float32).reshape(-1, 4)
    (answer,) = LLM(result.folder).embed({"prompt_token_ids": [7, 5, 9]}, use_tqdm=False)
    np.testing.assert_allclose(answer.outputs.embedding, (table[7] + table[5] + table[9]) / 3, atol=1e-6)


def test_calibration_is_applied_to_the_graphs_logits(toy: Toy, adopt: Any) -> None:
    body = "h = Gather (table, input_ids) zero = Constant <value_int = 0> () logits = Gather <axis = 1> (h, zero)"
    result = adopt(
        toy(config=CLASSIFIER, outputs="float[batch, 4] logits", body=body),
        pooler_config={"logit_mean": 0.5, "logit_sigma": 2.0},
    )
    from .conftest import toy_model

    table = np.frombuffer(toy_model().graph.initializer[0].raw_data, np.float32).reshape(-1, 4)
    (answer,) = LLM(result.folder).classify({"prompt_token_ids": [7, 5, 9]}, use_tqdm=False)
    powers = np.exp((table[7] - 0.5) / 2.0)
    np.testing.assert_allclose(answer.outputs.probs, powers / powers.sum(), atol=1e-6)
