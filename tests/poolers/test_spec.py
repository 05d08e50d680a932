from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_export.poolers import spec as words
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.parts import SparseHead
from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.poolers.spec import POOLING_ALIASES, POOLING_TYPES, PoolingSpec, parse_pooling_type

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
        ("xyzzy", "expected one of: ALL, CLS, LAST, MAX, MEAN, MEAN_SQRT_LEN, SPLADE, STEP, WEIGHTED_MEAN"),
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


# ------------------------------------------------------------------------------------------------ PoolingSpec


@pytest.mark.parametrize(
    ("fields", "tasks"),
    [
        ({"convert": "embed", "pooling": ("MEAN",)}, ("embed", "score", "token_embed", "encode")),
        ({"convert": "embed", "pooling": ("CLS", "MEAN")}, ("embed", "score", "token_embed", "encode")),
        ({"convert": "embed", "pooling": ("ALL",)}, ("token_embed", "score", "encode")),
        ({"convert": "embed", "pooling": ("STEP",)}, ("token_embed", "encode")),
        ({"convert": "embed", "pooling": ("SPLADE",)}, ("embed", "score", "sparse_embed")),
        (
            {"convert": "embed", "pooling": ("CLS",), "sparse": SparseHead(kind="token_weights")},
            ("embed", "score", "token_embed", "encode", "sparse_embed"),
        ),
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
