"""Widths and lengths of a checkpoint, read from its configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .architectures import OFFSET_POSITION_FAMILIES
from .errors import ConfigError
from .files import CheckpointFiles

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


def hidden_size(config: Mapping[str, Any]) -> int:
    """Width of the backbone's hidden states, from ``config.json``.

    Raises:
        ConfigError: no known key holds it.
    """
    for scope in (config, config.get("text_config") or {}):
        for key in ("hidden_size", "d_model", "dim", "n_embd"):
            if isinstance(scope.get(key), int):
                return int(scope[key])
    raise ConfigError("config.json has none of hidden_size, d_model, dim, n_embd: cannot tell the embedding width")


def position_limit(config: Mapping[str, Any]) -> int:
    """Largest number of tokens the position encoding allows, from ``config.json`` alone."""
    scopes = (config, config.get("text_config") or {})
    limits = [scope[key] for scope in scopes for key in _POSITION_KEYS if isinstance(scope.get(key), int)]
    limits = [limit for limit in limits if limit > 0]
    limit = min(limits) if limits else _UNKNOWN_LENGTH
    if config.get("model_type") in OFFSET_POSITION_FAMILIES:
        pad = config.get("pad_token_id")
        limit -= (1 if pad is None else int(pad)) + 1
    return limit


def max_length(files: CheckpointFiles, user_limit: int | None = None) -> int:
    """Longest input in tokens, special tokens included.

    sentence-transformers' ``max_seq_length`` replaces the derived limit, but never past the
    position table. A user may lower the limit, not raise it (vLLM refuses that too).

    Raises:
        ConfigError: ``user_limit`` is not within ``[1, derived limit]``.
    """
    limit = position_limit(files.config)
    tokenizer_limit = files.tokenizer_config.get("model_max_length")
    stated = files.transformer_config.get("max_seq_length")
    if isinstance(stated, int) and stated > 0:
        derived = min(limit, stated)
    elif isinstance(tokenizer_limit, int | float) and 0 < tokenizer_limit < _TOKENIZER_LIMIT:
        derived = min(limit, int(tokenizer_limit))
    else:
        derived = limit
    if user_limit is None:
        return derived
    ceiling = max(derived, limit)
    if not 1 <= user_limit <= ceiling:
        raise ConfigError(f"max_model_len must be in [1, {ceiling}] for this model, got {user_limit}")
    return user_limit
