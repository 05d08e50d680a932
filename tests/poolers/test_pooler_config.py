from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.pooler_config import PoolerConfig

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [field.name for field in dataclasses.fields(PoolerConfig)]

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
