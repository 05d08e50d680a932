from __future__ import annotations

import dataclasses
import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_export.poolers import spec as words
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.spec import POOLING_ALIASES, POOLING_TYPES, PoolerConfig, PoolingSpec, parse_pooling_type

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [field.name for field in dataclasses.fields(PoolerConfig)]

# ------------------------------------------------------------------------------------------------ vocabulary


@pytest.mark.parametrize(
    ("names", "literal"),
    [
        (words.POOLING_TYPES, words.PoolingType),
        (words.TOKEN_POOLING_TYPES, words.TokenPoolingType),
        (words.CONVERTS, words.Convert),
        (words.RUNNERS, words.Runner),
        (words.TASKS, words.Task),
        (words.ACTIVATIONS, words.Activation),
    ],
)
def test_the_runtime_tuple_is_the_literal(names, literal):
    assert names == get_args(literal)
    assert len(set(names)) == len(names) > 1


def test_token_level_types_are_pooling_types():
    assert set(words.TOKEN_POOLING_TYPES) < set(POOLING_TYPES)


# --------------------------------------------------------------------------------------- parse_pooling_type


@settings(deadline=None)
@given(st.sampled_from(POOLING_TYPES), st.data())
def test_a_pooling_type_in_any_case_is_itself(kind, data):
    spelled = "".join(data.draw(st.sampled_from([letter, letter.lower()])) for letter in kind)
    assert parse_pooling_type(spelled) == kind


@pytest.mark.parametrize(
    ("spelled", "kind"),
    [
        ("lasttoken", "LAST"),
        ("last_token", "LAST"),
        ("cls_token", "CLS"),
        ("mean_tokens", "MEAN"),
        ("max_tokens", "MAX"),
        ("mean_sqrt_len_tokens", "MEAN_SQRT_LEN"),
        ("weightedmean", "WEIGHTED_MEAN"),
        ("weightedmean_tokens", "WEIGHTED_MEAN"),
        ("avg", "MEAN"),
        ("bos", "CLS"),
    ],
)
def test_other_spellings(spelled, kind):
    assert parse_pooling_type(spelled) == parse_pooling_type(spelled.upper()) == kind


def test_no_alias_shadows_a_pooling_type():
    assert not set(POOLING_ALIASES) & set(POOLING_TYPES)
    assert all(alias == alias.upper() for alias in POOLING_ALIASES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MEEN", "unknown pooling type 'MEEN'; did you mean 'MEAN'?"),
        ("weighted-mean", "did you mean 'WEIGHTED_MEAN'?"),
        ("xyzzy", "expected one of: ALL, CLS, LAST, MAX, MEAN, MEAN_SQRT_LEN, STEP, WEIGHTED_MEAN"),
        ("", "expected one of"),
        (None, "pooling type must be a string, got NoneType: None"),
        (3, "pooling type must be a string, got int: 3"),
    ],
)
def test_an_unknown_pooling_type_is_refused_by_name(name, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        parse_pooling_type(name)


@settings(deadline=None)
@given(JSON)
def test_a_pooling_type_is_found_or_refused(value):
    try:
        kind = parse_pooling_type(value)
    except ConfigError:
        return
    assert kind in POOLING_TYPES
    assert parse_pooling_type(kind) == kind


# ------------------------------------------------------------------------------------- PoolerConfig.parse


def test_nothing_is_the_empty_config():
    assert PoolerConfig.parse(None) == PoolerConfig.parse({}) == PoolerConfig()
    assert set(dataclasses.asdict(PoolerConfig()).values()) == {None}


def test_an_instance_is_returned_as_it_is():
    config = PoolerConfig(pooling_type="MEAN")
    assert PoolerConfig.parse(config) is config


def test_every_key_is_read():
    stated = {
        "pooling_type": "STEP",
        "seq_pooling_type": "MEAN",
        "tok_pooling_type": "ALL",
        "normalize": True,
        "activation": False,
        "softmax": True,
        "use_activation": False,
        "dimensions": 64,
        "logit_bias": 1,
        "logit_mean": 2.5,
        "logit_sigma": 0.5,
        "step_tag_id": 7,
        "returned_token_ids": [1, 2],
    }
    assert list(stated) == KEYS
    assert dataclasses.asdict(PoolerConfig.parse(stated)) == {**stated, "returned_token_ids": (1, 2)}


def test_null_keeps_the_models_own_value():
    assert PoolerConfig.parse(dict.fromkeys(KEYS)) == PoolerConfig()


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("pooling_typ", "pooling_type"), ("normalise", "normalize"), ("logit_sigm", "logit_sigma"), ("dims", None)],
)
def test_an_unknown_key_names_the_nearest_valid_one(key, suggestion):
    with pytest.raises(ConfigError) as caught:
        PoolerConfig.parse({key: 1})
    hint = f"did you mean {suggestion!r}?" if suggestion else "expected one of: activation, dimensions,"
    assert str(caught.value).startswith(f"unknown pooler-config key {key!r}; {hint}")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("pooling_type", 3, "a string"),
        ("normalize", 1, "true or false"),
        ("use_activation", "true", "true or false"),
        ("dimensions", 64.0, "an integer"),
        ("dimensions", True, "an integer"),
        ("step_tag_id", "7", "an integer"),
        ("logit_mean", "2.65", "a finite number"),
        ("logit_mean", False, "a finite number"),
        ("logit_mean", float("nan"), "a finite number"),
        ("logit_sigma", float("inf"), "a finite number"),
        pytest.param("logit_bias", 10**400, "a finite number", id="past float64"),
        ("returned_token_ids", 3, "a list of integers"),
        ("returned_token_ids", [1, "2"], "a list of integers"),
        ("returned_token_ids", [True], "a list of integers"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(key, value, expected):
    with pytest.raises(ConfigError, match=f"pooler-config key '{key}' must be {expected}, got"):
        PoolerConfig.parse({key: value})


@pytest.mark.parametrize("value", ["MEAN", ["MEAN"], 3, True])
def test_what_is_no_mapping_is_refused(value):
    with pytest.raises(ConfigError, match="pooler config must be a mapping, got"):
        PoolerConfig.parse(value)


@settings(deadline=None)
@given(JSON | st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4))
def test_parse_answers_or_raises_config_error(value):
    """Whatever JSON a user gives: a config with that JSON's values, or a ConfigError."""
    try:
        config = PoolerConfig.parse(value)
        config.resolved_pooling_type()
        config.resolved_activation()
    except ConfigError:
        return
    given_values = {key: item for key, item in dataclasses.asdict(config).items() if item is not None}
    stated = {key: item for key, item in (value or {}).items() if item is not None}
    assert json.dumps(given_values, sort_keys=True) == json.dumps(stated, sort_keys=True)


# --------------------------------------------------------------------------------- several names of a setting


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, None),
        ({"pooling_type": "mean"}, "MEAN"),
        ({"pooling_type": "step"}, "STEP"),
        ({"seq_pooling_type": "lasttoken"}, "LAST"),
        ({"tok_pooling_type": "all"}, "ALL"),
    ],
)
def test_the_pooling_type_under_any_of_its_names(config, kind):
    assert PoolerConfig.parse(config).resolved_pooling_type() == kind


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"pooling_type": "MEAN", "seq_pooling_type": "MEAN"},
            "cannot set both `pooling_type` and `seq_pooling_type`; keep one of them",
        ),
        ({"seq_pooling_type": "CLS", "tok_pooling_type": "ALL"}, "both `seq_pooling_type` and `tok_pooling_type`"),
        ({"seq_pooling_type": "ALL"}, "`seq_pooling_type` cannot be ALL; give `pooling_type` alone"),
        ({"tok_pooling_type": "MEAN"}, "`tok_pooling_type` cannot be MEAN; give `pooling_type` alone"),
        ({"pooling_type": "MEENS"}, "unknown pooling type 'MEENS'"),
    ],
)
def test_pooling_types_that_exclude_each_other(config, message):
    with pytest.raises(ConfigError, match=message):
        PoolerConfig.parse(config).resolved_pooling_type()


@pytest.mark.parametrize("name", ["use_activation", "normalize", "activation", "softmax"])
@pytest.mark.parametrize("value", [True, False])
def test_the_activation_switch_under_any_of_its_names(name, value):
    assert PoolerConfig.parse({name: value}).resolved_activation() is value


def test_switches_that_agree_are_one():
    assert PoolerConfig(normalize=False, use_activation=False).resolved_activation() is False
    assert PoolerConfig().resolved_activation() is None


def test_switches_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match=r"contradicting pooler-config keys: \{.*'normalize': False.*\}"):
        PoolerConfig(use_activation=True, normalize=False).resolved_activation()


# ------------------------------------------------------------------------------------------------ PoolingSpec


@pytest.mark.parametrize(
    ("fields", "tasks"),
    [
        ({"convert": "embed", "pooling": ("MEAN",)}, ("embed", "score", "token_embed", "encode")),
        ({"convert": "embed", "pooling": ("CLS", "MEAN")}, ("embed", "score", "token_embed", "encode")),
        ({"convert": "embed", "pooling": ("ALL",)}, ("token_embed", "encode")),
        ({"convert": "classify", "pooling": ("CLS",), "num_labels": 1}, ("classify", "score")),
        ({"convert": "classify", "pooling": ("CLS",), "num_labels": 2}, ("classify",)),
        ({"convert": "classify", "pooling": ("ALL",), "num_labels": 1}, ("token_classify",)),
        ({"convert": "reward", "pooling": ("ALL",)}, ("reward", "token_classify", "encode")),
        ({"convert": "reward", "pooling": ("STEP",)}, ("reward", "token_classify", "encode")),
    ],
)
def test_tasks_follow_from_the_head(fields, tasks):
    assert PoolingSpec(hidden_size=8, **fields).tasks == tasks


@pytest.mark.parametrize("kind", POOLING_TYPES)
def test_all_and_step_answer_one_row_a_token(kind):
    assert PoolingSpec(convert="embed", pooling=(kind,), hidden_size=8).is_token_level == (kind in ("ALL", "STEP"))
