"""Decide what a checkpoint's pooling head is: one pure function over parsed files and options.

Precedence, weakest to strongest: convert default < architecture (class name and ``config.json``) <
sentence-transformers files < the user's pooler config. (Per-request ``PoolingParams`` act later, in
the runtime.) Every choice carries where it came from.
"""

from __future__ import annotations

from typing import Any

from .architectures import (
    FAMILY_POOLING,
    HOOKS,
    POOLING_KEYS,
    match_suffix,
)
from .chains import chain_for
from .conversion import resolve_convert
from .errors import ConfigError
from .files import CheckpointFiles
from .image_text import image_text_family, resolve_image_text
from .labels import classification_activation, label_names, module_activation
from .late_modules import bge_m3_vectors, is_native, late_interaction
from .limits import hidden_size
from .pooler_config import PoolerConfig
from .sparse_modules import (
    SPLADE_ARCHITECTURE,
    has_bge_m3_heads,
    splade_head,
    token_weight_head,
    vocabulary_size,
)
from .spec import TOKEN_POOLING_TYPES, Convert, PoolingSpec, PoolingType, Runner, Source, parse_pooling_type
from .st_modules import ModuleChain
from .token_classifier import TokenRows, token_rows
from .validate import validate

_NO_CHAIN = ModuleChain(transformer_path="", pooling=None, steps=(), normalize=False)


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
    hook = _hook(files, convert)
    sources: dict[str, Source] = {}
    pooling = _resolve_pooling(files, convert, chain, user, sources)
    # A hook's setting goes with the pooling type, or the conversion, that can use it.
    step_tag_id = hook.get("step_tag_id") if pooling[0] == "STEP" else None
    logit_mean = hook.get("logit_mean") if convert == "classify" else None
    hidden = hidden_size(files.config)
    chosen: dict[str, Any] = {
        "use_activation": _pick(
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
        "logit_mean": _pick(sources, "logit_mean", user=_user_mean(user), architecture=logit_mean),
        "logit_sigma": _pick(sources, "logit_sigma", user=user.logit_sigma, architecture=_temperature(files, convert)),
        "step_tag_id": _pick(sources, "step_tag_id", user=user.step_tag_id, architecture=step_tag_id),
        "returned_token_ids": _pick(sources, "returned_token_ids", user=user.returned_token_ids),
        "dimensions": _pick(sources, "dimensions", user=user.dimensions, st=_truncated(files, convert)),
    }
    width = _chained_width(chain, hidden, len(pooling))
    if convert == "embed":
        chosen |= _embed_fields(files, width, sources) | _chain_fields(chain, sources) | _vector_fields(files, pooling)
        chosen["include_prompt"] = chain.include_prompt or pooling[0] in TOKEN_POOLING_TYPES
    elif chain.scores:
        chosen |= _score_fields(files, width, sources) | _chain_fields(chain, sources)
    else:
        chosen |= _label_fields(files, convert, sources)
        chosen["pools_logits"] = sources["pooling"] == "architecture" and _pools_logits(files, convert)
    spec = PoolingSpec(convert=convert, pooling=pooling, hidden_size=hidden, sources=sources, **chosen)
    validate(spec)
    return spec


def _vector_fields(files: CheckpointFiles, pooling: tuple[PoolingType, ...]) -> dict[str, Any]:
    """The sparse and multi-vector heads, alone or beside a pooled vector."""
    if pooling[0] == "SPLADE":
        return {"sparse": splade_head(files), "embedding_size": vocabulary_size(files)}
    if pooling[0] == "ALL":
        return {"late_interaction": late_interaction(files)}
    if has_bge_m3_heads(files):
        return {"sparse": token_weight_head(files), "late_interaction": bge_m3_vectors(files)}
    return {}


def _hook(files: CheckpointFiles, convert: Convert) -> dict[str, Any]:
    """Return what the class says about its head; an embedding leaves that head out."""
    return {} if convert == "embed" else HOOKS.get(files.architecture, {})


def _temperature(files: CheckpointFiles, convert: Convert) -> float | None:
    """NVIDIA's bidirectional Llama rerankers divide their logits by a number of their config."""
    value: Any = files.config.get("temperature")
    applies = convert == "classify" and files.architecture == "LlamaBidirectionalForSequenceClassification"
    return float(value) if applies and value not in (None, 1) else None


def _pick(
    sources: dict[str, Source],
    name: str,
    *,
    user: Any = None,
    st: Any = None,
    architecture: Any = None,
    default: Any = None,
) -> Any:
    """Choose the strongest value of one field that is not ``None``, and note its source."""
    candidates: tuple[tuple[Source, Any], ...] = (
        ("user", user),
        ("sentence_transformers", st),
        ("architecture", architecture),
    )
    for source, value in candidates:
        if value is not None:
            sources[name] = source
            return value
    sources[name] = "convert_default"
    return default


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
    pooling: tuple[PoolingType, ...] = _pick(
        sources,
        "pooling",
        user=(asked,) if asked is not None else None,
        st=from_modules,
        architecture=(stated,) if stated is not None else None,
        default=("ALL",) if convert == "reward" else ("LAST",),
    )
    return pooling


def _architecture_pooling(files: CheckpointFiles, convert: Convert) -> PoolingType | None:
    hook = _hook(files, convert)
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


def _chain_fields(chain: ModuleChain, sources: dict[str, Source]) -> dict[str, Any]:
    return {
        "steps": _pick(sources, "steps", st=chain.steps or None, default=()),
        "token_steps": _pick(sources, "token_steps", st=chain.token_steps or None, default=()),
    }


def _chained_width(chain: ModuleChain, width: int, concatenated: int) -> int:
    """Follow the widths through the modules, from the hidden states to the answer.

    Raises:
        ConfigError: a module expects another width than the one before it gives.
    """
    for steps, factor in ((chain.token_steps, 1), (chain.steps, concatenated)):
        width *= factor
        for step in steps:
            if step.in_features is not None and step.in_features != width:
                raise ConfigError(f"{step.path}: expects {step.in_features} features, the step before gives {width}")
            width = step.out_features or width
    return width


def _truncated(files: CheckpointFiles, convert: Convert) -> int | None:
    """Return the size to which sentence-transformers (5.4 and later) shortens every vector of the checkpoint."""
    size = files.st_config.get("truncate_dim")
    if convert != "embed" or size is None:
        return None
    if not (isinstance(size, int) and size > 0):
        raise ConfigError(f"config_sentence_transformers.json: truncate_dim must be a positive integer, got {size!r}")
    return size


def _embed_fields(files: CheckpointFiles, width: int, sources: dict[str, Source]) -> dict[str, Any]:
    sizes = files.config.get("matryoshka_dimensions") or ()
    if not isinstance(sizes, list | tuple) or not all(isinstance(size, int) for size in sizes):
        raise ConfigError(f"config.json: matryoshka_dimensions must be a list of integers, got {sizes!r}")
    truncated = _truncated(
        files, "embed"
    )  # a checkpoint that shortens its vectors is one whose vectors may be shortened
    if sizes and truncated is not None and truncated not in sizes:
        sizes = [*sizes, truncated]
    return {
        "activation": _pick(sources, "activation", default="normalize"),
        "embedding_size": width,
        "is_matryoshka": bool(sizes) or bool(files.config.get("is_matryoshka")) or truncated is not None,
        "matryoshka_dimensions": _pick(sources, "matryoshka_dimensions", architecture=tuple(sizes) or None, default=()),
    }


def _score_fields(files: CheckpointFiles, width: int, sources: dict[str, Source]) -> dict[str, Any]:
    """Fields of a cross-encoder made of modules: its labels and activation are sentence-transformers', not vLLM's."""
    names = label_names(files.config)
    fitting = names if len(names) == width and files.config.get("id2label") else None
    activation, sources["activation"] = module_activation(files, width)
    return {
        "num_labels": width,
        "labels": _pick(
            sources, "labels", architecture=fitting, default=tuple(f"LABEL_{index}" for index in range(width))
        ),
        "activation": activation,
        "pair_format": _pick(sources, "pair_format", default="pair"),
    }


def _label_fields(files: CheckpointFiles, convert: Convert, sources: dict[str, Source]) -> dict[str, Any]:
    rows = token_rows(files)
    if convert == "reward":
        fields: dict[str, Any] = {"activation": _pick(sources, "activation", default="identity")}
        row = match_suffix(files.architecture)
        has_head = rows is not None or (row is not None and row[1] in ("classify", "reward"))
        # Without a head in the checkpoint the hidden states are the answer.
        return fields | _labels(files, convert, rows, sources) if has_head else fields
    fields = _labels(files, convert, rows, sources)
    fields["activation"], sources["activation"] = classification_activation(files, fields["num_labels"])
    # vLLM's `use_sep_token`, called `use_pad_token` before: whether two texts are encoded as a pair. A language
    # model has no separator: its rows are read after one running text.
    is_joined = rows is not None and rows.source == "architecture"
    is_pair = files.config.get("use_sep_token", files.config.get("use_pad_token", not is_joined))
    fields["pair_format"] = _pick(sources, "pair_format", architecture=None if is_pair else "concat", default="pair")
    return fields


def _labels(
    files: CheckpointFiles, convert: Convert, rows: TokenRows | None, sources: dict[str, Source]
) -> dict[str, Any]:
    count = _hook(files, convert).get("num_labels") if rows is None else rows.num_labels
    config = files.config if count is None else {**files.config, "num_labels": count}
    names = label_names(config)
    if rows is not None and len(names) == len(rows.tokens) and len(files.config.get("id2label") or ()) != len(names):
        names = rows.tokens  # a row's label is its token, unless the config names it otherwise
    is_stated = bool(config.get("id2label") or config.get("num_labels"))
    fields: dict[str, Any] = {
        "num_labels": len(names),
        "labels": _pick(sources, "labels", architecture=names if is_stated else None, default=names),
    }
    if rows is not None:
        fields |= {
            "classifier_method": rows.method,
            "classifier_tokens": rows.tokens,
            "classifier_token_ids": rows.ids,
        }
        sources.update(dict.fromkeys(("classifier_method", "classifier_tokens"), rows.source))
    return fields
