"""A classifier made of a language model's own output layer: whose rows, and what becomes of them.

Two dialects say the same: vLLM's ``classifier_from_token`` and ``method`` in the config
(``model_executor/models/adapters.py``, SEQ_CLS_LOAD_METHODS), and sentence-transformers' module
LogitScore, which names the tokens by id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from .errors import ConfigError, closest
from .files import CheckpointFiles
from .spec import TOKEN_METHODS, Source, TokenMethod
from .st_modules import module_kind

_TOKENS, _METHOD, _QWEN3 = "classifier_from_token", "method", "is_original_qwen3_reranker"


@dataclass(frozen=True)
class TokenRows:
    """Which rows of the output layer the classifier is.

    Attributes:
        method: ``from_2_way_softmax`` is the second row minus the first (false, true), one label whose
            sigmoid is the softmax of the two; ``no_post_processing`` is the rows as they are.
        tokens: vocabulary entries, empty where only ids are known.
        ids: their ids, empty until a tokenizer was asked.
        source: who says so.
    """

    method: TokenMethod
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    source: Source

    @property
    def num_labels(self) -> int:
        """Width of the logits."""
        return 1 if self.method == "from_2_way_softmax" else len(self.tokens or self.ids)


def token_rows(files: CheckpointFiles) -> TokenRows | None:
    """Return the rows a checkpoint's classifier is made of, or ``None`` where it has one of its own.

    Raises:
        ConfigError: an unknown method, tokens without one (or the reverse), or the wrong number of tokens.
    """
    config = files.config
    tokens: Any = config.get(_TOKENS)
    method: Any = config.get(_METHOD)
    if config.get(_QWEN3):
        if method not in (None, "from_2_way_softmax"):
            raise ConfigError(f"{_QWEN3} means method 'from_2_way_softmax', got {_METHOD} {method!r}; drop one of them")
        method = "from_2_way_softmax"
    if tokens is None and method is None:
        return _logit_score(files)
    if not _are_names(tokens):
        raise ConfigError(
            f"method {method!r} needs {_TOKENS}: a list of the vocabulary's tokens, such as "
            f'["no", "yes"]; got {tokens!r}'
        )
    if method not in TOKEN_METHODS:
        named = f"unknown method {method!r}{closest(str(method), TOKEN_METHODS)}" if method else "no method"
        raise ConfigError(f"{_TOKENS} {list(tokens)} needs one of the methods {', '.join(TOKEN_METHODS)}, got {named}")
    if method == "from_2_way_softmax" and len(tokens) != 2:
        raise ConfigError(f"method 'from_2_way_softmax' needs two tokens, [false, true], got {list(tokens)}")
    if len(set(tokens)) != len(tokens):
        raise ConfigError(f"{_TOKENS} names a token twice: {list(tokens)}")
    return TokenRows(cast(TokenMethod, method), tuple(tokens), (), "architecture")


def _are_names(tokens: Any) -> bool:
    return isinstance(tokens, list | tuple) and bool(tokens) and all(isinstance(token, str) for token in tokens)


def has_logit_score(modules: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether ``modules.json`` ends a language model with sentence-transformers' LogitScore."""
    return any(_is_logit_score(entry) for entry in modules or ())


def without_logit_score(modules: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the modules that lead to the output layer's states."""
    return [entry for entry in modules if not _is_logit_score(entry)]


def _is_logit_score(entry: Mapping[str, Any]) -> bool:
    owner = str(entry.get("type", "")).split(".", 1)[0]
    return owner == "sentence_transformers" and module_kind(entry) == "LogitScore"


def _logit_score(files: CheckpointFiles) -> TokenRows | None:
    """Read the LogitScore module: ``logit[true]``, less ``logit[false]`` where it is given."""
    if not has_logit_score(files.modules):
        return None
    kinds = [module_kind(entry) for entry in files.modules or ()]
    if kinds != ["Transformer", "LogitScore"]:
        raise ConfigError(f"modules.json: LogitScore must come right after Transformer and last, got {kinds}")
    path = str((files.modules or ())[1].get("path", ""))
    config = files.module_configs.get(path, {})
    true: Any = config.get("true_token_id")
    false: Any = config.get("false_token_id")
    if not _is_id(true) or not (false is None or _is_id(false)):
        raise ConfigError(f"{path}/config.json: LogitScore needs the id true_token_id, got {dict(config)}")
    if config.get("module_input_name", "causal_logits") != "causal_logits":
        raise ConfigError(f"{path}/config.json: LogitScore reads causal_logits, got {config['module_input_name']!r}")
    if false is None:
        return TokenRows("no_post_processing", (), (true,), "sentence_transformers")
    return TokenRows("from_2_way_softmax", (), (false, true), "sentence_transformers")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
