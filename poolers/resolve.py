"""Decide what a checkpoint's pooling head is: one pure function over parsed files and options.

Precedence, weakest to strongest: convert default < architecture (class name and ``config.json``) <
sentence-transformers files < the user's pooler config. (Per-request ``PoolingParams`` act later, in
the runtime.) Every choice carries where it came from.
"""

from __future__ import annotations

from typing import Any

from .architectures import (
    FAMILY_POOLING,
    POOLING_KEYS,
)
from .chains import chain_for
from .conversion import resolve_convert
from .errors import ConfigError
from .fields import (
    chain_fields,
    chained_width,
    embed_fields,
    hook_of,
    label_fields,
    pick,
    score_fields,
    truncated_size,
    vector_fields,
)
from .files import CheckpointFiles
from .image_text import image_text_family, resolve_image_text
from .late_modules import is_native, late_interaction
from .limits import hidden_size
from .pooler_config import PoolerConfig
from .sparse_modules import (
    SPLADE_ARCHITECTURE,
)
from .spec import TOKEN_POOLING_TYPES, Convert, PoolingSpec, PoolingType, Runner, Source, parse_pooling_type
from .st_modules import ModuleChain
from .validate import validate


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
    family = image_text_family(files)
    if convert == "auto" and user.resolved_pooling_type() == "SPLADE":
        convert = "embed"
    convert = resolve_convert(files, convert=convert, runner=runner)
    if family is not None:
        spec = resolve_image_text(files, family, convert, user)
        validate(spec)
        return spec
    chain = chain_for(files, convert)
    hook = hook_of(files, convert)
    sources: dict[str, Source] = {}
    pooling = _resolve_pooling(files, convert, chain, user, sources)
    # A hook's setting goes with the pooling type, or the conversion, that can use it.
    step_tag_id = hook.get("step_tag_id") if pooling[0] == "STEP" else None
    logit_mean = hook.get("logit_mean") if convert == "classify" else None
    hidden = hidden_size(files.config)
    chosen: dict[str, Any] = {
        "use_activation": pick(
            sources,
            "use_activation",
            user=user.resolved_activation(),
            # A sentence-transformers checkpoint without Normalize is un-normalised (vLLM does the same).
            st=chain.normalize
            if (chain.pooling is not None or is_native(files.modules)) and not chain.scores
            else None,
            architecture=hook.get("use_activation"),
            default=convert != "reward" and pooling[0] != "SPLADE",
        ),
        "logit_mean": pick(sources, "logit_mean", user=_user_mean(user), architecture=logit_mean),
        "logit_sigma": pick(sources, "logit_sigma", user=user.logit_sigma, architecture=_temperature(files, convert)),
        "step_tag_id": pick(sources, "step_tag_id", user=user.step_tag_id, architecture=step_tag_id),
        "returned_token_ids": pick(sources, "returned_token_ids", user=user.returned_token_ids),
        "dimensions": pick(sources, "dimensions", user=user.dimensions, st=truncated_size(files, convert)),
    }
    width = chained_width(chain, hidden, len(pooling))
    if convert == "embed":
        chosen |= embed_fields(files, width, sources) | chain_fields(chain, sources) | vector_fields(files, pooling)
        chosen["include_prompt"] = chain.include_prompt or pooling[0] in TOKEN_POOLING_TYPES
    elif chain.scores:
        chosen |= score_fields(files, width, sources) | chain_fields(chain, sources)
    else:
        chosen |= label_fields(files, convert, sources)
        chosen["pools_logits"] = sources["pooling"] == "architecture" and _pools_logits(files, convert)
    spec = PoolingSpec(convert=convert, pooling=pooling, hidden_size=hidden, sources=sources, **chosen)
    validate(spec)
    return spec


def _temperature(files: CheckpointFiles, convert: Convert) -> float | None:
    """NVIDIA's bidirectional Llama rerankers divide their logits by a number of their config."""
    value: Any = files.config.get("temperature")
    applies = convert == "classify" and files.architecture == "LlamaBidirectionalForSequenceClassification"
    return float(value) if applies and value not in (None, 1) else None


def _user_mean(user: PoolerConfig) -> float | None:
    """vLLM 0.11's ``logit_bias`` (subtracted) is 0.32's ``logit_mean``."""
    if user.logit_bias is not None and user.logit_mean is not None:
        raise ConfigError("`logit_bias` and `logit_mean` are the same setting; keep one of them")
    return user.logit_mean if user.logit_mean is not None else user.logit_bias


def _resolve_pooling(
    files: CheckpointFiles, convert: Convert, chain: ModuleChain, user: PoolerConfig, sources: dict[str, Source]
) -> tuple[PoolingType, ...]:
    asked = user.resolved_pooling_type()
    stated = _architecture_pooling(files, convert)
    # Modules after the transformer and no Pooling among them: late interaction (ColBERT), every token is a vector.
    is_late = convert == "embed" and chain.pooling is None and bool(chain.steps or late_interaction(files))
    from_modules = ("ALL",) if is_late else chain.pooling
    pooling: tuple[PoolingType, ...] = pick(
        sources,
        "pooling",
        user=(asked,) if asked is not None else None,
        st=from_modules,
        architecture=(stated,) if stated is not None else None,
        default=("ALL",) if convert == "reward" else ("LAST",),
    )
    return pooling


def _architecture_pooling(files: CheckpointFiles, convert: Convert) -> PoolingType | None:
    hook = hook_of(files, convert)
    if "pooling_type" in hook:
        return parse_pooling_type(hook["pooling_type"])
    if convert == "reward":
        return None
    if convert == "embed" and files.architecture == SPLADE_ARCHITECTURE:
        return "SPLADE"
    if files.architecture in POOLING_KEYS:
        return _config_pooling(files, POOLING_KEYS[files.architecture])
    if convert == "classify" and files.architecture.endswith("ForTokenClassification"):
        return "ALL"
    if _pools_logits(files, convert):
        return "MEAN"
    key = _classifier_pooling(files)
    if convert == "classify" and key is not None:  # ModernBERT and kin
        return _config_pooling(files, key)
    if files.config.get("is_decoder"):
        return None  # made causal: the first token has seen nothing
    return FAMILY_POOLING.get(files.model_type)


def _classifier_pooling(files: CheckpointFiles) -> str | None:
    """Return the key of ``config.json`` that names a classifier's pooling (EuroBERT's own code had another name)."""
    return next((key for key in ("classifier_pooling", "clf_pooling") if files.config.get(key)), None)


def _pools_logits(files: CheckpointFiles, convert: Convert) -> bool:
    """Whether the classifier answers every token and its logits are averaged (EuroBERT, its default)."""
    if convert != "classify" or files.architecture != "EuroBertForSequenceClassification":
        return False
    key = _classifier_pooling(files)
    return key is None or files.config[key] == "late"


def _config_pooling(files: CheckpointFiles, key: str) -> PoolingType:
    try:
        return parse_pooling_type(files.config.get(key))
    except ConfigError as error:
        raise ConfigError(f"config.json, key {key!r}: {error}") from None
