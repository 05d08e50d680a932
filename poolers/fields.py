"""The fields of a resolved head that depend on its kind: embedding, labels, sparse and multi-vector heads."""

from __future__ import annotations

from typing import Any

from .architectures import (
    HOOKS,
    match_suffix,
)
from .errors import ConfigError
from .files import CheckpointFiles
from .labels import classification_activation, label_names, module_activation
from .late_modules import bge_m3_vectors, late_interaction
from .sparse_modules import (
    has_bge_m3_heads,
    splade_head,
    token_weight_head,
    vocabulary_size,
)
from .spec import Convert, PoolingType, Source
from .st_modules import ModuleChain
from .token_classifier import TokenRows, token_rows


def pick(
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


def vector_fields(files: CheckpointFiles, pooling: tuple[PoolingType, ...]) -> dict[str, Any]:
    """The sparse and multi-vector heads, alone or beside a pooled vector."""
    if pooling[0] == "SPLADE":
        return {"sparse": splade_head(files), "embedding_size": vocabulary_size(files)}
    if pooling[0] == "ALL":
        return {"late_interaction": late_interaction(files)}
    if has_bge_m3_heads(files):
        return {"sparse": token_weight_head(files), "late_interaction": bge_m3_vectors(files)}
    return {}


def hook_of(files: CheckpointFiles, convert: Convert) -> dict[str, Any]:
    """Return what the class says about its head; an embedding leaves that head out."""
    return {} if convert == "embed" else HOOKS.get(files.architecture, {})


def chain_fields(chain: ModuleChain, sources: dict[str, Source]) -> dict[str, Any]:
    """The modules before and after pooling."""
    return {
        "steps": pick(sources, "steps", st=chain.steps or None, default=()),
        "token_steps": pick(sources, "token_steps", st=chain.token_steps or None, default=()),
    }


def chained_width(chain: ModuleChain, width: int, concatenated: int) -> int:
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


def truncated_size(files: CheckpointFiles, convert: Convert) -> int | None:
    """Return the size to which sentence-transformers (5.4 and later) shortens every vector of the checkpoint."""
    size = files.st_config.get("truncate_dim")
    if convert != "embed" or size is None:
        return None
    if not (isinstance(size, int) and size > 0):
        raise ConfigError(f"config_sentence_transformers.json: truncate_dim must be a positive integer, got {size!r}")
    return size


def embed_fields(files: CheckpointFiles, width: int, sources: dict[str, Source]) -> dict[str, Any]:
    """Fields of an embedding.

    Raises:
        ConfigError: sizes that are no list of integers.
    """
    sizes = files.config.get("matryoshka_dimensions") or ()
    if not isinstance(sizes, list | tuple) or not all(isinstance(size, int) for size in sizes):
        raise ConfigError(f"config.json: matryoshka_dimensions must be a list of integers, got {sizes!r}")
    truncated = truncated_size(files, "embed")  # a checkpoint that shortens its vectors allows it
    if sizes and truncated is not None and truncated not in sizes:
        sizes = [*sizes, truncated]
    return {
        "activation": pick(sources, "activation", default="normalize"),
        "embedding_size": width,
        "is_matryoshka": bool(sizes) or bool(files.config.get("is_matryoshka")) or truncated is not None,
        "matryoshka_dimensions": pick(sources, "matryoshka_dimensions", architecture=tuple(sizes) or None, default=()),
    }


def score_fields(files: CheckpointFiles, width: int, sources: dict[str, Source]) -> dict[str, Any]:
    """Fields of a cross-encoder made of modules: its labels and activation are sentence-transformers', not vLLM's."""
    names = label_names(files.config)
    fitting = names if len(names) == width and files.config.get("id2label") else None
    activation, sources["activation"] = module_activation(files, width)
    return {
        "num_labels": width,
        "labels": pick(
            sources, "labels", architecture=fitting, default=tuple(f"LABEL_{index}" for index in range(width))
        ),
        "activation": activation,
        "pair_format": pick(sources, "pair_format", default="pair"),
    }


def label_fields(files: CheckpointFiles, convert: Convert, sources: dict[str, Source]) -> dict[str, Any]:
    """Fields of a classifier, or of a reward head."""
    rows = token_rows(files)
    if convert == "reward":
        fields: dict[str, Any] = {"activation": pick(sources, "activation", default="identity")}
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
    fields["pair_format"] = pick(sources, "pair_format", architecture=None if is_pair else "concat", default="pair")
    return fields


def _labels(
    files: CheckpointFiles, convert: Convert, rows: TokenRows | None, sources: dict[str, Source]
) -> dict[str, Any]:
    count = hook_of(files, convert).get("num_labels") if rows is None else rows.num_labels
    config = files.config if count is None else {**files.config, "num_labels": count}
    names = label_names(config)
    if rows is not None and len(names) == len(rows.tokens) and len(files.config.get("id2label") or ()) != len(names):
        names = rows.tokens  # a row's label is its token, unless the config names it otherwise
    is_stated = bool(config.get("id2label") or config.get("num_labels"))
    fields: dict[str, Any] = {
        "num_labels": len(names),
        "labels": pick(sources, "labels", architecture=names if is_stated else None, default=names),
    }
    if rows is not None:
        fields |= {
            "classifier_method": rows.method,
            "classifier_tokens": rows.tokens,
            "classifier_token_ids": rows.ids,
        }
        sources.update(dict.fromkeys(("classifier_method", "classifier_tokens"), rows.source))
    return fields
