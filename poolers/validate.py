"""Which combinations of a head's settings make sense, whoever chose them."""

from __future__ import annotations

from .errors import ConfigError
from .spec import TOKEN_POOLING_TYPES, PoolingSpec


def validate(spec: PoolingSpec) -> None:
    """Refuse a combination of settings that no head has.

    Raises:
        ConfigError: two settings that exclude each other, or one that needs another.
    """
    token_types = [kind for kind in spec.pooling if kind in TOKEN_POOLING_TYPES]
    if token_types and len(spec.pooling) > 1:
        raise ConfigError(f"pooling type {token_types[0]} cannot be concatenated with others, got {spec.pooling}")
    if "SPLADE" in spec.pooling:
        _validate_splade(spec)
    if spec.convert == "reward" and not token_types:
        raise ConfigError(f"a reward head pools ALL or STEP, got {spec.pooling[0]}; use --convert classify for one "
                          "score a text")  # fmt: skip
    if spec.pooling[0] == "STEP" and spec.step_tag_id is None:
        raise ConfigError("pooling type STEP needs step_tag_id: pass --pooler-config '{\"step_tag_id\": ID, ...}'")
    if spec.pooling[0] != "STEP" and (spec.step_tag_id is not None or spec.returned_token_ids is not None):
        raise ConfigError(f"step_tag_id and returned_token_ids need pooling type STEP, got {spec.pooling[0]}")
    if spec.convert != "classify" and (spec.logit_mean is not None or spec.logit_sigma is not None):
        raise ConfigError(f"logit_mean/logit_sigma apply to convert=classify, got convert={spec.convert}")
    if spec.classifier_method is not None and spec.pooling not in (("LAST",), *((kind,) for kind in token_types)):
        raise ConfigError(
            f"a classifier made of a language model's tokens reads the LAST token (or ALL, STEP), got {spec.pooling[0]}"
        )
    if spec.logit_sigma == 0:
        raise ConfigError("logit_sigma cannot be 0 (division by zero)")
    if spec.dimensions is not None:
        _validate_dimensions(spec, spec.dimensions)


def _validate_splade(spec: PoolingSpec) -> None:
    if spec.convert != "embed" or len(spec.pooling) > 1:
        raise ConfigError(f"pooling type SPLADE is an embedding of its own, got convert={spec.convert}, "
                          f"pooling={' + '.join(spec.pooling)}")  # fmt: skip
    if spec.use_activation:
        raise ConfigError("SPLADE weights are not normalised; leave out use_activation (and normalize)")


def _validate_dimensions(spec: PoolingSpec, dimensions: int) -> None:
    """Apply the rules that a request's ``dimensions`` meets, to the default of all requests."""
    if spec.convert != "embed":
        raise ConfigError(f"dimensions applies to convert=embed, got convert={spec.convert}")
    if not spec.is_matryoshka:
        raise ConfigError(
            "dimensions needs a Matryoshka model; if it is one, set is_matryoshka or matryoshka_dimensions by "
            "--hf-overrides"
        )
    allowed = spec.matryoshka_dimensions or range(1, (spec.embedding_size or 0) + 1)
    if dimensions not in allowed:
        shown = f"one of {list(allowed)}" if spec.matryoshka_dimensions else f"in [1, {spec.embedding_size}]"
        raise ConfigError(f"dimensions must be {shown} for this model, got {dimensions}")
