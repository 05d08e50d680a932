"""The vocabulary of pooling: closed sets of names, and the resolved description of one head.

Standard library only, so that every other part (the torch-free runtime above all) can read it.
Each closed vocabulary is one ``Literal``; the tuple used for run-time checks is derived from it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from .errors import ConfigError, closest

PoolingType = Literal["LAST", "CLS", "MEAN", "ALL", "STEP", "MAX", "MEAN_SQRT_LEN", "WEIGHTED_MEAN"]
POOLING_TYPES: tuple[PoolingType, ...] = get_args(PoolingType)

TokenPoolingType = Literal["ALL", "STEP"]
TOKEN_POOLING_TYPES: tuple[TokenPoolingType, ...] = get_args(TokenPoolingType)

Convert = Literal["auto", "none", "embed", "classify", "reward"]
CONVERTS: tuple[Convert, ...] = get_args(Convert)

Runner = Literal["auto", "generate", "pooling"]
RUNNERS: tuple[Runner, ...] = get_args(Runner)

Task = Literal["embed", "classify", "score", "reward", "encode", "token_embed", "token_classify"]
TASKS: tuple[Task, ...] = get_args(Task)

Activation = Literal["identity", "normalize", "sigmoid", "softmax"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

Source = Literal["user", "sentence_transformers", "architecture", "convert_default"]

StepKind = Literal["dense", "layer_norm", "normalize"]

PairFormat = Literal["pair", "concat"]

# Other spellings of the same idea: sentence-transformers' mode names, and those of models' own configs.
POOLING_ALIASES: dict[str, PoolingType] = {
    "AVG": "MEAN",
    "BOS": "CLS",
    "LAST_TOKEN": "LAST",
    "LASTTOKEN": "LAST",
    "CLS_TOKEN": "CLS",
    "MEAN_TOKENS": "MEAN",
    "MAX_TOKENS": "MAX",
    "MEAN_SQRT_LEN_TOKENS": "MEAN_SQRT_LEN",
    "WEIGHTEDMEAN": "WEIGHTED_MEAN",
    "WEIGHTEDMEAN_TOKENS": "WEIGHTED_MEAN",
}


def parse_pooling_type(name: object) -> PoolingType:
    """Map any accepted spelling to a pooling type.

    Raises:
        ConfigError: the name is not a pooling type; the message carries the nearest valid one.
    """
    if not isinstance(name, str):
        raise ConfigError(f"pooling type must be a string, got {type(name).__name__}: {name!r}")
    upper = name.upper()
    for known in POOLING_TYPES:
        if upper == known:
            return known
    if upper in POOLING_ALIASES:
        return POOLING_ALIASES[upper]
    raise ConfigError(f"unknown pooling type {name!r}{closest(upper, POOLING_TYPES)}")


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


@dataclass(frozen=True, kw_only=True)
class HeadStep:
    """One module between pooling and the output, in the order of ``modules.json``.

    ``path`` is the module's folder inside the checkpoint (weights), empty for weightless steps.
    """

    kind: StepKind
    path: str = ""
    in_features: int | None = None
    out_features: int | None = None
    bias: bool = True
    activation: str = "identity"


@dataclass(frozen=True, kw_only=True)
class PoolingSpec:
    """One fully resolved pooling head. Pure data: stored in the bundle, printed by the CLI.

    Attributes:
        convert: which adapter the graph was made with.
        pooling: pooling types whose results are concatenated (more than one only for
            sentence-transformers' multi-mode pooling).
        steps: modules applied after pooling (embed only).
        activation: the function applied last.
        use_activation: default of the per-request switch.
        hidden_size: width of the backbone's hidden states.
        embedding_size: width of the vector an ``embed`` request returns (``None`` otherwise).
        num_labels: width of the logits (classify), of a row of rewards (reward), or ``None``
            where the head is the hidden states themselves.
        labels: label names by index.
        is_matryoshka, matryoshka_dimensions: whether, and to which sizes, a request may shorten
            the vector.
        dimensions: default of the per-request ``dimensions``.
        logit_mean, logit_sigma: calibration ``(x - mean) / sigma`` applied before the activation.
        step_tag_id, returned_token_ids: STEP row and column selection.
        pair_format: how two texts become one input of a cross-encoder.
        sources: field name -> where its value came from.
    """

    convert: Convert
    pooling: tuple[PoolingType, ...]
    hidden_size: int
    steps: tuple[HeadStep, ...] = ()
    activation: Activation = "identity"
    use_activation: bool = True
    embedding_size: int | None = None
    num_labels: int | None = None
    labels: tuple[str, ...] = ()
    is_matryoshka: bool = False
    matryoshka_dimensions: tuple[int, ...] = ()
    dimensions: int | None = None
    logit_mean: float | None = None
    logit_sigma: float | None = None
    step_tag_id: int | None = None
    returned_token_ids: tuple[int, ...] | None = None
    pair_format: PairFormat = "pair"
    sources: dict[str, Source] = field(default_factory=dict)

    @property
    def is_token_level(self) -> bool:
        """Whether the head answers one row per token (``ALL``, ``STEP``) and not one per text."""
        return self.pooling[0] in TOKEN_POOLING_TYPES

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks a bundle with this head answers, the primary one first."""
        if self.convert == "embed":
            return ("token_embed", "encode") if self.is_token_level else ("embed", "score", "token_embed", "encode")
        if self.convert == "reward":
            return ("reward", "token_classify", "encode")
        if self.is_token_level:
            return ("token_classify",)
        return ("classify", "score") if self.num_labels == 1 else ("classify",)
