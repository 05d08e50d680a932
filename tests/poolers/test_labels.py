from __future__ import annotations

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.labels import classification_activation, label_names

TORCH = "torch.nn.modules."


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"id2label": {"0": "negative", "1": "positive"}}, ("negative", "positive")),
        ({"id2label": {1: "b", 0: "a"}}, ("a", "b")),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"0": "entailment"}, "num_labels": 1}, ("entailment",)),
        ({"id2label": None}, ("LABEL_0", "LABEL_1")),
        ({"id2label": {}}, ("LABEL_0", "LABEL_1")),
        ({}, ("LABEL_0", "LABEL_1")),
    ],
)
def test_names_in_the_order_of_their_index(config, names):
    assert label_names(config) == names


def test_keys_are_numbers_not_strings():
    table = {str(index): f"topic {index}" for index in (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)}
    assert label_names({"id2label": table}) == tuple(f"topic {index}" for index in range(12))


def test_num_labels_wins_over_a_table_of_another_size():
    """As transformers 5 does: `--hf-overrides '{"num_labels": 1}'` makes a head of one."""
    table = {"0": "no", "1": "yes"}
    assert label_names({"id2label": table, "num_labels": 1}) == ("LABEL_0",)
    assert label_names({"id2label": table, "num_labels": 2}) == ("no", "yes")


def test_a_table_by_name_is_refused():
    with pytest.raises(ConfigError, match=r"id2label must map indices to names, got the keys .*'positive'"):
        label_names({"id2label": {"positive": 0}})


@pytest.mark.parametrize(
    ("config", "num_labels", "activation", "source"),
    [
        ({"problem_type": "regression"}, 1, "identity", "architecture"),
        ({"problem_type": "regression"}, 4, "identity", "architecture"),
        ({"problem_type": "single_label_classification"}, 1, "sigmoid", "architecture"),
        ({"problem_type": "single_label_classification"}, 2, "softmax", "architecture"),
        ({"problem_type": "multi_label_classification"}, 1, "sigmoid", "architecture"),
        ({"problem_type": "multi_label_classification"}, 5, "sigmoid", "architecture"),
        ({}, 1, "sigmoid", "convert_default"),
        ({}, 2, "softmax", "convert_default"),
        ({"problem_type": None}, 3, "softmax", "convert_default"),
        ({"sbert_ce_default_activation_function": None}, 1, "sigmoid", "convert_default"),
        ({"sentence_transformers": {"version": "4.0"}}, 1, "sigmoid", "convert_default"),
        ({"sentence_transformers": {"activation_fn": TORCH + "linear.Identity"}}, 1, "identity", None),
        ({"sentence_transformers": {"activation_fn": TORCH + "activation.Sigmoid"}}, 1, "sigmoid", None),
        ({"sentence_transformers": {"activation_fn": TORCH + "activation.Sigmoid"}}, 3, "softmax", None),
        ({"sentence_transformers": {"activation_fn": TORCH + "activation.Softmax"}}, 1, "sigmoid", None),
        ({"sbert_ce_default_activation_function": TORCH + "linear.Identity"}, 3, "identity", None),
        ({"sentence_transformers": {"activation_fn": TORCH + "activation.Tanh"}}, 1, "tanh", None),
        (
            {
                "sentence_transformers": {"activation_fn": TORCH + "linear.Identity"},
                "sbert_ce_default_activation_function": TORCH + "activation.Sigmoid",
            },
            1,
            "identity",
            None,
        ),
        (
            {
                "problem_type": "multi_label_classification",
                "sentence_transformers": {"activation_fn": TORCH + "linear.Identity"},
            },
            2,
            "sigmoid",
            "architecture",
        ),
    ],
)
def test_the_activation_table_in_its_order(config, num_labels, activation, source):
    found = classification_activation(CheckpointFiles(config=config), num_labels)
    assert found == (activation, source or "sentence_transformers")


def test_a_cross_encoder_of_today_keeps_its_activation_in_its_own_file():
    """sentence-transformers 5.4 moved the name from config.json to config_sentence_transformers.json."""
    files = CheckpointFiles(config={}, st_config={"activation_fn": TORCH + "linear.Identity"})
    assert classification_activation(files, 1) == ("identity", "sentence_transformers")
    older = {"sentence_transformers": {"activation_fn": TORCH + "activation.Sigmoid"}}
    both = CheckpointFiles(config=older, st_config={"activation_fn": TORCH + "linear.Identity"})
    assert classification_activation(both, 1) == ("identity", "sentence_transformers")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("os.system", "'os.system' is not one of torch.nn.modules; refusing to load it"),
        ("Sigmoid", "is not one of torch.nn.modules"),
        (TORCH + "activation.GELU", "GELU' has no counterpart; expected Identity, Sigmoid, Softmax or Tanh"),
    ],
)
def test_a_foreign_activation_is_refused_by_name(path, message):
    for files in (
        CheckpointFiles(config={}, st_config={"activation_fn": path}),
        CheckpointFiles(config={"sentence_transformers": {"activation_fn": path}}),
        CheckpointFiles(config={"sbert_ce_default_activation_function": path}),
    ):
        with pytest.raises(ConfigError, match=message):
            classification_activation(files, 1)
