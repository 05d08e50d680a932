from __future__ import annotations

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.spec import PoolingSpec
from pool_export.poolers.validate import validate

EMBED = {"convert": "embed", "pooling": ("MEAN",), "embedding_size": 32}
CLASSIFY = {"convert": "classify", "pooling": ("CLS",), "num_labels": 1}
REWARD = {"convert": "reward", "pooling": ("ALL",)}
STEP = {**REWARD, "pooling": ("STEP",)}
MATRYOSHKA = {**EMBED, "is_matryoshka": True}


@pytest.mark.parametrize(
    "fields",
    [
        EMBED,
        {**EMBED, "pooling": ("CLS", "MEAN")},
        {**EMBED, "pooling": ("ALL",)},
        {**CLASSIFY, "logit_mean": 2.65, "logit_sigma": -1.0},
        {**CLASSIFY, "pooling": ("STEP",), "step_tag_id": 0},
        REWARD,
        {**STEP, "step_tag_id": 0, "returned_token_ids": (1,)},
        {**MATRYOSHKA, "dimensions": 1},
        {**MATRYOSHKA, "dimensions": 32},
        {**MATRYOSHKA, "matryoshka_dimensions": (8, 16), "dimensions": 16},
    ],
)
def test_heads_that_exist(fields):
    validate(PoolingSpec(hidden_size=32, **fields))  # raises where a rule is too strict


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**EMBED, "pooling": ("CLS", "ALL")}, "pooling type ALL cannot be concatenated with others"),
        ({**REWARD, "pooling": ("MEAN",)}, "a reward head pools ALL or STEP, got MEAN; use --convert classify"),
        (STEP, "pooling type STEP needs step_tag_id"),
        ({**REWARD, "step_tag_id": 7}, "step_tag_id and returned_token_ids need pooling type STEP, got ALL"),
        ({**REWARD, "returned_token_ids": ()}, "need pooling type STEP, got ALL"),
        ({**EMBED, "logit_mean": 0.0}, "logit_mean/logit_sigma apply to convert=classify, got convert=embed"),
        ({**REWARD, "logit_sigma": 2.0}, "apply to convert=classify, got convert=reward"),
        ({**CLASSIFY, "logit_sigma": 0.0}, r"logit_sigma cannot be 0 \(division by zero\)"),
        ({**CLASSIFY, "dimensions": 1}, "dimensions applies to convert=embed, got convert=classify"),
        ({**EMBED, "dimensions": 32}, "dimensions needs a Matryoshka model.*--hf-overrides"),
        ({**MATRYOSHKA, "dimensions": 33}, r"dimensions must be in \[1, 32\] for this model, got 33"),
        ({**MATRYOSHKA, "dimensions": 0}, r"dimensions must be in \[1, 32\]"),
        (
            {**MATRYOSHKA, "matryoshka_dimensions": (8, 16), "dimensions": 32},
            r"dimensions must be one of \[8, 16\] for this model, got 32",
        ),
    ],
)
def test_heads_that_do_not(fields, message):
    with pytest.raises(ConfigError, match=message):
        validate(PoolingSpec(hidden_size=32, **fields))
