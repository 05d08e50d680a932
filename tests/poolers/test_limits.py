from __future__ import annotations

from typing import Any

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.limits import hidden_size, max_length, position_limit

ROBERTA = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}


def checkpoint(config: dict[str, Any], st: int | None = None, tokenizer: float | None = None) -> CheckpointFiles:
    return CheckpointFiles(
        config=config,
        transformer_config={} if st is None else {"max_seq_length": st},
        tokenizer_config={} if tokenizer is None else {"model_max_length": tokenizer},
    )


# ------------------------------------------------------------------------------------------------ hidden_size


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"hidden_size": 384}, 384),
        ({"d_model": 512, "d_kv": 64, "d_ff": 2048}, 512),
        ({"dim": 768, "hidden_dim": 3072}, 768),
        ({"n_embd": 1024, "n_inner": None}, 1024),
        ({"emb_dim": 2048}, 2048),
        ({"text_config": {"hidden_size": 640}}, 640),
        ({"hidden_size": 2048, "text_config": {"hidden_size": 640}}, 2048),
    ],
)
def test_the_width_under_every_familys_name(config, width):
    assert hidden_size(config) == width


@pytest.mark.parametrize(
    "config", [{"embedding_size": 128, "hidden_size": 768}, {"hidden_size": 256, "embedding_size": 128}]
)
def test_the_embedding_size_of_albert_and_electra_is_not_the_width(config):
    assert hidden_size(config) == config["hidden_size"]


def test_opt_projects_its_states():
    assert hidden_size({"hidden_size": 1024, "word_embed_proj_dim": 512}) == 512


@pytest.mark.parametrize("config", [{}, {"embedding_size": 128}, {"hidden_size": "768"}, {"text_config": None}])
def test_an_unknown_width_is_refused(config):
    with pytest.raises(ConfigError, match=r"config.json has none of .*hidden_size, d_model"):
        hidden_size(config)


# --------------------------------------------------------------------------------------------- position_limit


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": 8192, "max_seq_len": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 4096}}, 4096),
        ({"max_position_embeddings": 8192, "text_config": {"max_position_embeddings": 4096}}, 4096),
        ({"max_position_embeddings": -1}, 2048),
        ({"max_position_embeddings": None}, 2048),
        ({}, 2048),
    ],
)
def test_the_smallest_stated_limit_counts_and_2048_stands_for_unknown(config, limit):
    assert position_limit(config) == limit


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (ROBERTA, 512),
        ({**ROBERTA, "pad_token_id": 0}, 513),
        ({**ROBERTA, "pad_token_id": None}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 8194, "pad_token_id": 1}, 8192),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "longformer", "max_position_embeddings": 4098, "pad_token_id": 1}, 4096),
        ({"model_type": "esm", "max_position_embeddings": 1026, "pad_token_id": 1}, 1024),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
    ],
)
def test_positions_that_start_after_the_pad_id_leave_fewer(config, limit):
    assert position_limit(config) == limit


# ------------------------------------------------------------------------------------------------- max_length


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        (checkpoint({"max_position_embeddings": 512}), 512),
        (checkpoint({"max_position_embeddings": 512}, st=256), 256),
        (checkpoint({"max_position_embeddings": 512}, st=8192), 512),
        (checkpoint(ROBERTA, st=514), 512),
        (checkpoint({"max_position_embeddings": 512}, tokenizer=128), 128),
        (checkpoint({"max_position_embeddings": 512}, tokenizer=128.0), 128),
        (checkpoint({"max_position_embeddings": 512}, tokenizer=int(1e30)), 512),
        (checkpoint({"max_position_embeddings": 512}, tokenizer=1e30), 512),
        (checkpoint({"max_position_embeddings": 512}, st=256, tokenizer=128), 256),
        (checkpoint({"max_position_embeddings": 512}, st=0, tokenizer=128), 128),
        (checkpoint({}, tokenizer=8192), 2048),
    ],
    ids=[
        "table",
        "sentence-transformers",
        "never past the table",
        "never past the roberta table",
        "tokenizer",
        "tokenizer float",
        "tokenizer without limit",
        "tokenizer without limit, float",
        "sentence-transformers over tokenizer",
        "no sentence-transformers limit",
        "unknown table",
    ],
)
def test_the_longest_input(files, limit):
    assert max_length(files) == limit


@pytest.mark.parametrize("limit", [1, 64, 256])
def test_a_user_may_lower_the_limit(limit):
    assert max_length(checkpoint({"max_position_embeddings": 512}, st=256), limit) == limit


@pytest.mark.parametrize(
    "files",
    [
        checkpoint({"max_position_embeddings": 256}),
        checkpoint({"max_position_embeddings": 512}, st=256),
        checkpoint({"max_position_embeddings": 512}, tokenizer=256),
    ],
    ids=["table", "sentence-transformers", "tokenizer"],
)
@pytest.mark.parametrize("limit", [257, 512, 0, -1])
def test_a_user_may_not_raise_it(files, limit):
    with pytest.raises(ConfigError, match=rf"max_model_len must be in \[1, 256\] for this model, got {limit}"):
        max_length(files, limit)
