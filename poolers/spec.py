"""The vocabulary of pooling: closed sets of names, and the resolved description of one head.

Standard library only, so that every other part (the torch-free runtime above all) can read it.
Each closed vocabulary is one ``Literal``; the tuple used for run-time checks is derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

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

Activation = Literal["identity", "normalize", "sigmoid", "softmax", "tanh"]
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
