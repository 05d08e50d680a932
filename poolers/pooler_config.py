"""What a user may say about the pooler: vLLM's ``PoolerConfig`` in both generations of names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import ConfigError, closest
from .spec import TOKEN_POOLING_TYPES, PoolingType, parse_pooling_type


@dataclass(frozen=True, kw_only=True)
class PoolerConfig:
    """What a user may say about the pooler (vLLM's ``PoolerConfig``; both generations of names).

    Every field left ``None`` keeps the model's own value. vLLM 0.11's ``normalize``,
    ``activation`` and ``softmax`` and 0.32's ``use_activation`` are the same switch seen from
    different tasks; ``seq_pooling_type``/``tok_pooling_type`` are 0.32's split of
    ``pooling_type``.
    """

    pooling_type: str | None = None
    seq_pooling_type: str | None = None
    tok_pooling_type: str | None = None
    normalize: bool | None = None
    activation: bool | None = None
    softmax: bool | None = None
    use_activation: bool | None = None
    dimensions: int | None = None
    logit_bias: float | None = None
    logit_mean: float | None = None
    logit_sigma: float | None = None
    step_tag_id: int | None = None
    returned_token_ids: tuple[int, ...] | None = None

    @classmethod
    def parse(cls, value: PoolerConfig | Mapping[str, Any] | None) -> PoolerConfig:
        """Accept an instance, a mapping or ``None``.

        Raises:
            ConfigError: an unknown key (the nearest valid one is named) or a value of the wrong type.
        """
        if value is None:
            return cls()
        if isinstance(value, PoolerConfig):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError(f"pooler config must be a mapping, got {type(value).__name__}: {value!r}")
        checks = {f.name: _FIELD_CHECKS[str(f.type)] for f in fields(cls)}
        for key, item in value.items():
            if key not in checks:
                raise ConfigError(f"unknown pooler-config key {key!r}{closest(str(key), checks)}")
            expected, accepts = checks[key]
            if not accepts(item):
                raise ConfigError(f"pooler-config key {key!r} must be {expected}, got {item!r}")
        values = dict(value)
        if values.get("returned_token_ids") is not None:
            values["returned_token_ids"] = tuple(values["returned_token_ids"])
        return cls(**values)

    def resolved_pooling_type(self) -> PoolingType | None:
        """Return the one pooling type asked for, or ``None``.

        Raises:
            ConfigError: not a pooling type; a token-level type in ``seq_pooling_type`` (or the reverse);
                ``pooling_type`` beside one of its two halves, or both halves at once.
        """
        given = {
            name: value
            for name in ("pooling_type", "seq_pooling_type", "tok_pooling_type")
            if (value := getattr(self, name)) is not None
        }
        if len(given) > 1:
            raise ConfigError(f"cannot set both {' and '.join(f'`{name}`' for name in given)}; keep one of them")
        if not given:
            return None
        ((name, value),) = given.items()
        kind = parse_pooling_type(value)
        if name != "pooling_type" and (kind in TOKEN_POOLING_TYPES) != (name == "tok_pooling_type"):
            raise ConfigError(f"`{name}` cannot be {kind}; give `pooling_type` alone")
        return kind

    def resolved_activation(self) -> bool | None:
        """Return the one activation switch asked for, or ``None``.

        Raises:
            ConfigError: two switches that contradict each other.
        """
        given = {
            name: value
            for name in ("use_activation", "normalize", "activation", "softmax")
            if (value := getattr(self, name)) is not None
        }
        if len(set(given.values())) > 1:
            raise ConfigError(f"contradicting pooler-config keys: {given}; give `use_activation` alone")
        return next(iter(given.values()), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_int_list(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_is_int(item) for item in value)


# Keyed by the annotation text of the fields above: one declaration per option.
_FIELD_CHECKS: dict[str, tuple[str, Any]] = {
    "str | None": ("a string", lambda value: value is None or isinstance(value, str)),
    "bool | None": ("true or false", lambda value: value is None or isinstance(value, bool)),
    "int | None": ("an integer", lambda value: value is None or _is_int(value)),
    "float | None": ("a finite number", lambda value: value is None or _is_number(value)),
    "tuple[int, ...] | None": ("a list of integers", lambda value: value is None or _is_int_list(value)),
}
