"""A classifier made of a language model's tokens: what the two dialects say, and what they may not."""

from __future__ import annotations

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.poolers.resolve import resolve
from pool_export.poolers.token_classifier import TokenRows, token_rows

BASE = {"architectures": ["Qwen3ForSequenceClassification"], "model_type": "qwen3", "hidden_size": 8}
ST = "sentence_transformers.base.modules.transformer.Transformer"
LOGIT_SCORE = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"


def files(**config) -> CheckpointFiles:
    return CheckpointFiles(config={**BASE, **config})


def logit_score(**config) -> CheckpointFiles:
    modules = [{"path": "", "type": ST}, {"path": "1_LogitScore", "type": LOGIT_SCORE}]
    return CheckpointFiles(
        config={**BASE, "architectures": ["Qwen3ForCausalLM"]},
        modules=modules,
        module_configs={"1_LogitScore": config},
        st_config={"model_type": "CrossEncoder"},
    )


@pytest.mark.parametrize(
    ("tokens", "key", "method", "labels", "activation"),
    [
        (["no", "yes"], {"is_original_qwen3_reranker": True}, "from_2_way_softmax", 1, "sigmoid"),
        (["0", "1"], {"method": "from_2_way_softmax"}, "from_2_way_softmax", 1, "sigmoid"),
        (["Yes"], {"method": "no_post_processing"}, "no_post_processing", 1, "sigmoid"),
        (["a", "b"], {"method": "no_post_processing"}, "no_post_processing", 2, "softmax"),
        (["a", "b", "c"], {"method": "no_post_processing"}, "no_post_processing", 3, "softmax"),
    ],
)
def test_vllms_keys(tokens, key, method, labels, activation):
    spec = resolve(files(classifier_from_token=tokens, **key))
    assert (spec.convert, spec.pooling, spec.pair_format) == ("classify", ("LAST",), "concat")
    assert (spec.classifier_method, spec.classifier_tokens) == (method, tuple(tokens))
    assert (spec.num_labels, spec.activation) == (labels, activation)
    assert spec.sources["classifier_method"] == "architecture"


def test_a_method_beats_num_labels_and_names_its_labels():
    """vLLM: `num_labels` becomes 1, or the number of tokens, whatever the config says."""
    two = {"classifier_from_token": ["bad", "good"], "method": "no_post_processing"}
    assert resolve(files(num_labels=5, **two)).labels == ("bad", "good")
    assert resolve(files(id2label={"0": "-", "1": "+"}, **two)).labels == ("-", "+")
    assert resolve(files(num_labels=3, classifier_from_token=["no", "yes"], method="from_2_way_softmax")).labels == (
        "LABEL_0",
    )


def test_a_separator_can_be_asked_for():
    spec = resolve(files(classifier_from_token=["Yes"], method="no_post_processing", use_sep_token=True))
    assert spec.pair_format == "pair"


def test_problem_type_still_chooses_the_activation():
    spec = resolve(files(classifier_from_token=["Yes"], method="no_post_processing", problem_type="regression"))
    assert spec.activation == "identity"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"classifier_from_token": ["no", "yes"]}, r"needs one of the methods from_2_way_softmax, .*got no method"),
        ({"method": "no_post_processing"}, "needs classifier_from_token"),
        ({"method": "no_post_processing", "classifier_from_token": []}, r"needs classifier_from_token.*got \[\]"),
        ({"method": "no_post_processing", "classifier_from_token": "yes"}, "a list of the vocabulary's tokens"),
        ({"method": "no_post_processing", "classifier_from_token": [1]}, "a list of the vocabulary's tokens"),
        ({"method": "from_2_way_softmax", "classifier_from_token": ["yes"]}, r"needs two tokens, \[false, true\]"),
        ({"method": "from_2_way_softmax", "classifier_from_token": ["a", "b", "c"]}, "needs two tokens"),
        ({"method": "from_two_way_softmax", "classifier_from_token": ["a", "b"]}, "did you mean 'from_2_way_softmax'"),
        ({"method": "no_post_processing", "classifier_from_token": ["a", "a"]}, "names a token twice"),
        ({"is_original_qwen3_reranker": True}, "needs classifier_from_token"),
        ({"is_original_qwen3_reranker": True, "classifier_from_token": ["yes"]}, "needs two tokens"),
        (
            {"is_original_qwen3_reranker": True, "classifier_from_token": ["a", "b"], "method": "no_post_processing"},
            "is_original_qwen3_reranker means method 'from_2_way_softmax'",
        ),
    ],
)
def test_what_cannot_be_a_classifier_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        resolve(files(**keys))


def test_an_embedding_of_the_same_model_needs_no_tokens():
    assert resolve(files(method="anything"), convert="embed").classifier_method is None


@pytest.mark.parametrize("pooling", ["MEAN", "CLS", "MAX"])
def test_other_pooling_has_no_logits(pooling):
    keys = {"classifier_from_token": ["Yes"], "method": "no_post_processing"}
    with pytest.raises(ConfigError, match=f"reads the LAST token .*got {pooling}"):
        resolve(files(**keys), pooler_config=PoolerConfig(pooling_type=pooling))
    assert resolve(files(**keys), pooler_config=PoolerConfig(pooling_type="ALL")).is_token_level


def test_rewards_of_a_causal_lms_tokens():
    keys = {"classifier_from_token": ["+", "-"], "method": "no_post_processing"}
    step = PoolerConfig(pooling_type="STEP", step_tag_id=9)
    spec = resolve(files(architectures=["MistralForCausalLM"], **keys), convert="reward", pooler_config=step)
    assert (spec.pooling, spec.num_labels, spec.labels, spec.use_activation) == (("STEP",), 2, ("+", "-"), False)


@pytest.mark.parametrize(
    ("config", "method", "ids"),
    [
        ({"true_token_id": 5, "false_token_id": 3}, "from_2_way_softmax", (3, 5)),
        ({"true_token_id": 5, "false_token_id": None}, "no_post_processing", (5,)),
        ({"true_token_id": 5, "module_input_name": "causal_logits"}, "no_post_processing", (5,)),
    ],
)
def test_logit_score_names_its_tokens_by_id(config, method, ids):
    spec = resolve(logit_score(**config))
    assert (spec.convert, spec.num_labels, spec.activation) == ("classify", 1, "sigmoid")
    assert (spec.classifier_method, spec.classifier_token_ids, spec.classifier_tokens) == (method, ids, ())
    assert spec.sources["classifier_method"] == "sentence_transformers"
    assert spec.pair_format == "pair"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "needs the id true_token_id"),
        ({"true_token_id": "yes"}, "needs the id true_token_id"),
        ({"true_token_id": 5, "false_token_id": -1}, "needs the id true_token_id"),
        ({"true_token_id": 5, "module_input_name": "logits"}, "LogitScore reads causal_logits, got 'logits'"),
    ],
)
def test_a_damaged_logit_score_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        resolve(logit_score(**config))


def test_the_users_tokens_beat_the_module():
    found = logit_score(true_token_id=5)
    stated = {**found.config, "classifier_from_token": ["a", "b"], "method": "from_2_way_softmax"}
    rows = token_rows(CheckpointFiles(config=stated, modules=found.modules, module_configs=found.module_configs))
    assert rows == TokenRows("from_2_way_softmax", ("a", "b"), (), "architecture")


def test_logit_score_elsewhere_in_a_chain_is_refused():
    found = logit_score(true_token_id=5)
    chain = [*found.modules, {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]
    with pytest.raises(ConfigError, match="LogitScore must come right after Transformer and last"):
        resolve(CheckpointFiles(config=found.config, modules=chain, module_configs=found.module_configs))
