"""Widths and lengths of a checkpoint, read from its configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .architectures import OFFSET_POSITION_FAMILIES
from .errors import ConfigError
from .files import CheckpointFiles

# `embedding_size` is not among them: in ALBERT and ELECTRA it is the width before the first layer.
_WIDTH_KEYS = (
    "word_embed_proj_dim",  # OPT projects its states to it, from hidden_size
    "hidden_size",
    "d_model",
    "dim",
    "n_embd",
    "emb_dim",
)
_POSITION_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_UNKNOWN_LENGTH = 2048  # vLLM's fallback when no key says anything
_TOKENIZER_LIMIT = 10**6  # tokenizers without a limit carry int(1e30)


def _stated(config: Mapping[str, Any], keys: tuple[str, ...]) -> list[int]:
    """Positive integers under any of the keys, in the config itself and in its ``text_config``."""
    nested = config.get("text_config")
    scopes = (config, nested) if isinstance(nested, Mapping) else (config,)
    values = [scope.get(key) for scope in scopes for key in keys]
    return [value for value in values if isinstance(value, int) and value > 0]


def hidden_size(config: Mapping[str, Any]) -> int:
    """Width of the backbone's hidden states, from ``config.json``.

    Raises:
        ConfigError: no known key holds it.
    """
    widths = _stated(config, _WIDTH_KEYS)
    if not widths:
        raise ConfigError(f"config.json has none of {', '.join(_WIDTH_KEYS)}: cannot tell the embedding width")
    return widths[0]


def position_limit(config: Mapping[str, Any]) -> int:
    """Largest number of tokens the position encoding allows, from ``config.json`` alone.

    RoPE scaling factors are not multiplied in (vLLM does that): whether ``max_position_embeddings``
    is meant before or after scaling differs between checkpoints, and too short is the safe side.
    """
    limit = min(_stated(config, _POSITION_KEYS), default=_UNKNOWN_LENGTH)
    if config.get("model_type") in OFFSET_POSITION_FAMILIES:
        pad = config.get("pad_token_id")
        limit -= (1 if pad is None else int(pad)) + 1
    return limit


def max_length(files: CheckpointFiles, user_limit: int | None = None) -> int:
    """Longest input in tokens, special tokens included.

    sentence-transformers' ``max_seq_length`` replaces the tokenizer's limit (where its newer
    releases keep that number); neither goes past the position table. A user may lower the limit,
    not raise it (vLLM refuses that too).

    Raises:
        ConfigError: ``user_limit`` is not within ``[1, derived limit]``.
    """
    limit = position_limit(files.config)
    tokenizer_limit = files.tokenizer_config.get("model_max_length")
    stated = files.transformer_config.get("max_seq_length")
    if isinstance(stated, int) and stated > 0:
        limit = min(limit, stated)
    elif isinstance(tokenizer_limit, int | float) and 0 < tokenizer_limit < _TOKENIZER_LIMIT:
        limit = min(limit, int(tokenizer_limit))
    if user_limit is None:
        return limit
    if not 1 <= user_limit <= limit:
        raise ConfigError(f"max_model_len must be in [1, {limit}] for this model, got {user_limit}")
    return user_limit
