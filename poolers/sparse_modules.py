"""Read what a checkpoint says about sparse vectors: SPLADE's module files, and bge-m3's weight layer.

Rules: sentence-transformers ``sparse_encoder`` (6.2), vLLM ``models/bert.py`` and ``models/roberta.py``,
FlagEmbedding ``BGEM3FlagModel``. Pure functions over parsed JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from .errors import ConfigError
from .files import CheckpointFiles
from .limits import hidden_size
from .parts import HeadStep, SparseHead, SparseSimilarity, SpladeFunction, SpladeStrategy
from .st_modules import ModuleChain, module_kind

SPLADE_ARCHITECTURE = "BertSpladeSparseEmbeddingModel"  # vLLM's name, given by --hf-overrides
BGE_M3_ARCHITECTURE = "BgeM3EmbeddingModel"  # so is this one

# Weight files of bge-m3 beside the transformer's own.
SPARSE_LINEAR, COLBERT_LINEAR = "sparse_linear.pt", "colbert_linear.pt"

_TRANSFORMERS = ("Transformer", "MLMTransformer")


def splade_chain(modules: Sequence[Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]]) -> ModuleChain | None:
    """Read a sentence-transformers chain that ends in SpladePooling; ``None`` for any other chain.

    Raises:
        ConfigError: something stands beside the transformer and SpladePooling, or a setting is unknown.
    """
    kinds = [module_kind(entry) for entry in modules]
    if "SpladePooling" not in kinds:
        return None
    odd = [entry for entry in modules if not str(entry.get("type", "")).startswith("sentence_transformers.")]
    if odd or len(kinds) != 2 or kinds[0] not in _TRANSFORMERS:
        raise ConfigError(
            f"modules.json holds {', '.join(str(entry.get('type')) for entry in modules)}; a sparse encoder must be "
            "sentence-transformers' Transformer (or MLMTransformer) and SpladePooling, and nothing else"
        )
    splade_settings(modules, configs)
    return ModuleChain(str(modules[0].get("path", "")), ("SPLADE",), (), normalize=False)


def splade_settings(
    modules: Sequence[Mapping[str, Any]] | None, configs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return ``strategy`` and ``function`` as SpladePooling's config has them; empty without that module.

    Raises:
        ConfigError: a value sentence-transformers does not know.
    """
    entry = next((entry for entry in modules or () if module_kind(entry) == "SpladePooling"), None)
    if entry is None:
        return {}
    path = str(entry.get("path", ""))
    config = configs.get(path) or {}
    found: dict[str, Any] = {}
    for field, key, known in (
        ("strategy", "pooling_strategy", get_args(SpladeStrategy)),
        ("function", "activation_function", get_args(SpladeFunction)),
    ):
        value = config.get(key, known[0])
        if value not in known:
            raise ConfigError(f"{path}/config.json: {key} {value!r} is not supported; expected: {', '.join(known)}")
        found[field] = value
    return found


def splade_head(files: CheckpointFiles) -> SparseHead:
    """Describe a SPLADE head.

    Raises:
        ConfigError: a setting of SpladePooling or of the sparse encoder that is not known.
    """
    settings = splade_settings(files.modules, files.module_configs)
    similarity: Any = files.st_config.get("similarity_fn_name") or "dot"
    if similarity not in get_args(SparseSimilarity):
        raise ConfigError(
            f"config_sentence_transformers.json: similarity_fn_name {similarity!r} is not supported for a sparse "
            f"encoder; expected: {', '.join(get_args(SparseSimilarity))}"
        )
    most = files.st_config.get("max_active_dims")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise ConfigError(f"config_sentence_transformers.json: max_active_dims must be 1 or more, got {most!r}")
    return SparseHead(kind="splade", similarity=similarity, max_active_dims=most, **settings)


def vocabulary_size(files: CheckpointFiles) -> int:
    """Width of SPLADE's vector: the checkpoint's vocabulary.

    Raises:
        ConfigError: ``config.json`` does not say, or SpladePooling says otherwise.
    """
    size = files.config.get("vocab_size")
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f"config.json: SPLADE needs vocab_size, the width of its vector, got {size!r}")
    for entry in files.modules or ():
        config = files.module_configs.get(str(entry.get("path", ""))) or {}
        stated = config.get("embedding_dimension", config.get("word_embedding_dimension"))
        if module_kind(entry) == "SpladePooling" and stated not in (None, size):
            raise ConfigError(
                f"{entry['path']}/config.json: embedding_dimension is {stated}, the vocabulary has {size}"
            )
    return size


def has_bge_m3_heads(files: CheckpointFiles) -> bool:
    """Whether the checkpoint is a bge-m3 with its three heads: by vLLM's architecture name, or by its two files.

    Raises:
        ConfigError: the architecture is named and a file is missing.
    """
    missing = [name for name in (SPARSE_LINEAR, COLBERT_LINEAR) if name not in files.weight_files]
    if files.architecture == BGE_M3_ARCHITECTURE and missing:
        raise ConfigError(f"{BGE_M3_ARCHITECTURE} needs {' and '.join(missing)} beside config.json")
    return not missing


def token_weight_head(files: CheckpointFiles) -> SparseHead:
    """Describe bge-m3's lexical head: ``relu(linear(state))`` per token."""
    step = HeadStep(
        kind="dense",
        path=SPARSE_LINEAR,
        in_features=hidden_size(files.config),
        out_features=1,
        activation="relu",
    )
    return SparseHead(kind="token_weights", steps=(step,))
