"""Decide what a checkpoint's pooling head is: one pure function over parsed files and options.

Precedence, weakest to strongest: convert default < architecture < sentence-transformers files <
the user's pooler config. (Per-request ``PoolingParams`` act later, in the runtime.) Every field
carries where it came from.
"""

from __future__ import annotations

from typing import Any

from .architectures import (
    FAMILY_POOLING,
    HOOKS,
    NON_TEXT_SUFFIXES,
    match_suffix,
)
from .errors import ConfigError
from .files import CheckpointFiles
from .labels import classification_activation, label_names
from .limits import hidden_size
from .spec import (
    TOKEN_POOLING_TYPES,
    Convert,
    PoolerConfig,
    PoolingSpec,
    PoolingType,
    Runner,
    Source,
    parse_pooling_type,
)
from .st_modules import ModuleChain, has_pooling, parse_chain


def resolve(
    files: CheckpointFiles,
    *,
    convert: Convert = "auto",
    runner: Runner = "auto",
    pooler_config: PoolerConfig | None = None,
) -> PoolingSpec:
    """Resolve the pooling head of a checkpoint.

    Raises:
        ConfigError: the model has no pooling use, or some part cannot be represented; the
            message names the architecture, module or key.
    """
    user = pooler_config or PoolerConfig()
    convert = resolve_convert(files, convert=convert, runner=runner)
    chain = parse_chain(files.modules, files.module_configs) if files.modules else None
    sources: dict[str, Source] = {}
    pooling = _resolve_pooling(files, convert, chain, user, sources)
    hook = HOOKS.get(files.architecture, {})
    hidden = hidden_size(files.config)
    spec_fields: dict[str, Any] = {
        "use_activation": _pick(
            sources, "use_activation", user.resolved_activation(), hook.get("use_activation"), True
        ),
        "logit_mean": _pick(sources, "logit_mean", _user_mean(user), hook.get("logit_mean"), None),
        "logit_sigma": _pick(sources, "logit_sigma", user.logit_sigma, None, None),
        "step_tag_id": _pick(sources, "step_tag_id", user.step_tag_id, hook.get("step_tag_id"), None),
        "returned_token_ids": _pick(sources, "returned_token_ids", user.returned_token_ids, None, None),
        "dimensions": _pick(sources, "dimensions", user.dimensions, None, None),
    }
    if convert == "embed":
        spec_fields |= _embed_fields(files, chain, user, pooling, hidden, sources)
    else:
        spec_fields |= _label_fields(files, convert, sources)
    spec = PoolingSpec(convert=convert, pooling=pooling, hidden_size=hidden, sources=sources, **spec_fields)
    _validate(spec)
    return spec


def resolve_convert(files: CheckpointFiles, *, convert: Convert = "auto", runner: Runner = "auto") -> Convert:
    """Apply vLLM's runner/convert ``auto`` algorithm.

    Raises:
        ConfigError: the architecture is generative (or unknown) and no conversion was asked for.
    """
    architecture = files.architecture
    if architecture.endswith(NON_TEXT_SUFFIXES):
        raise ConfigError(f"architecture {architecture} has no text pooling use; expected an embedding, "
                          "classification or reward model")  # fmt: skip
    if runner == "generate" or convert == "none":
        raise ConfigError(
            f"runner={runner!r}, convert={convert!r} asks for a generative model; this tool exports pooling models: "
            "use --runner auto and --convert auto|embed|classify|reward"
        )
    if convert != "auto":
        return convert
    row = match_suffix(architecture)
    if row is not None and row[0] == "pooling":
        # A sentence-transformers repo is an embedder unless its architecture says otherwise.
        return row[1]
    if runner == "pooling" or has_pooling(files.modules):
        return "embed"
    shown = architecture or "(no architecture in config.json)"
    raise ConfigError(
        f"{shown} is not a pooling model by itself; pass --convert embed|classify|reward to adapt it into one"
    )


def _pick(sources: dict[str, Source], name: str, user: Any, hook: Any, default: Any) -> Any:
    """Choose the strongest non-``None`` value of one field and note its source."""
    if user is not None:
        sources[name] = "user"
        return user
    if hook is not None:
        sources[name] = "architecture"
        return hook
    sources[name] = "convert_default"
    return default


def _user_mean(user: PoolerConfig) -> float | None:
    """vLLM 0.11's ``logit_bias`` (subtracted) is 0.32's ``logit_mean``."""
    if user.logit_bias is not None and user.logit_mean is not None:
        raise ConfigError("`logit_bias` and `logit_mean` are the same setting; keep one of them")
    return user.logit_mean if user.logit_mean is not None else user.logit_bias


def _resolve_pooling(
    files: CheckpointFiles,
    convert: Convert,
    chain: ModuleChain | None,
    user: PoolerConfig,
    sources: dict[str, Source],
) -> tuple[PoolingType, ...]:
    asked = user.resolved_pooling_type()
    if asked is not None:
        sources["pooling"] = "user"
        return (parse_pooling_type(asked),)
    if convert == "embed" and chain is not None and chain.pooling is not None:
        sources["pooling"] = "sentence_transformers"
        return chain.pooling
    from_architecture = _architecture_pooling(files, convert)
    if from_architecture is not None:
        sources["pooling"] = "architecture"
        return (from_architecture,)
    sources["pooling"] = "convert_default"
    return ("ALL",) if convert == "reward" else ("LAST",)


def _architecture_pooling(files: CheckpointFiles, convert: Convert) -> PoolingType | None:
    hook = HOOKS.get(files.architecture, {})
    if "pooling_type" in hook:
        return parse_pooling_type(hook["pooling_type"])
    if convert == "reward":
        return None
    if files.architecture.endswith("ForTokenClassification"):
        return "ALL"
    if convert == "classify" and files.config.get("classifier_pooling"):  # ModernBERT
        return parse_pooling_type(files.config["classifier_pooling"])
    if files.config.get("is_decoder") and files.model_type not in FAMILY_POOLING:
        return None
    return FAMILY_POOLING.get(files.model_type)


def _embed_fields(
    files: CheckpointFiles,
    chain: ModuleChain | None,
    user: PoolerConfig,
    pooling: tuple[PoolingType, ...],
    hidden: int,
    sources: dict[str, Source],
) -> dict[str, Any]:
    steps = chain.steps if chain is not None else ()
    if chain is not None and user.resolved_activation() is None:
        # A sentence-transformers checkpoint without Normalize is un-normalised (vLLM does the same).
        sources["use_activation"] = "sentence_transformers"
        use_activation = chain.normalize
    else:
        use_activation = user.resolved_activation() is not False
    width = hidden * len(pooling)
    for step in steps:
        if step.in_features is not None and step.in_features != width:
            raise ConfigError(f"{step.path}: expects {step.in_features} features, the step before gives {width}")
        width = step.out_features or width
    sizes = tuple(files.config.get("matryoshka_dimensions") or ())
    return {
        "steps": steps,
        "activation": "normalize",
        "use_activation": use_activation,
        "embedding_size": width,
        "is_matryoshka": bool(sizes) or bool(files.config.get("is_matryoshka")),
        "matryoshka_dimensions": sizes,
    }


def _label_fields(files: CheckpointFiles, convert: Convert, sources: dict[str, Source]) -> dict[str, Any]:
    names = label_names(files.config)
    has_head = not files.architecture.endswith(("ForCausalLM", "LMHeadModel", "ForMaskedLM")) and (
        "For" in files.architecture or files.architecture.endswith(("RewardModel", "ClassificationModel"))
    )
    if convert == "reward":
        fields: dict[str, Any] = {"activation": "identity", "num_labels": None}
        if has_head:
            fields |= {"num_labels": len(names), "labels": names}
        return fields
    return {
        "activation": classification_activation(files.config, len(names)),
        "num_labels": len(names),
        "labels": names,
    }


def _validate(spec: PoolingSpec) -> None:
    token_types = [kind for kind in spec.pooling if kind in TOKEN_POOLING_TYPES]
    if token_types and len(spec.pooling) > 1:
        raise ConfigError(f"pooling type {token_types[0]} cannot be concatenated with others, got {spec.pooling}")
    if spec.convert == "reward" and not token_types:
        raise ConfigError(f"a reward head pools ALL or STEP, got {spec.pooling[0]}; use --convert classify for one "
                          "score a text")  # fmt: skip
    if spec.pooling[0] == "STEP" and spec.step_tag_id is None:
        raise ConfigError("pooling type STEP needs step_tag_id: pass --pooler-config '{\"step_tag_id\": ID, ...}'")
    if spec.pooling[0] != "STEP" and (spec.step_tag_id is not None or spec.returned_token_ids is not None):
        raise ConfigError(f"step_tag_id and returned_token_ids need pooling type STEP, got {spec.pooling[0]}")
    if spec.convert != "classify" and (spec.logit_mean is not None or spec.logit_sigma is not None):
        raise ConfigError(f"logit_mean/logit_sigma apply to convert=classify, got convert={spec.convert}")
    if spec.logit_sigma == 0:
        raise ConfigError("logit_sigma cannot be 0 (division by zero)")
    if spec.dimensions is not None and spec.convert != "embed":
        raise ConfigError(f"dimensions applies to convert=embed, got convert={spec.convert}")
