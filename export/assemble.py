"""The manifest and the graph's metadata, put together from what the export resolved."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path

from ..poolers.errors import ConfigError, closest
from ..poolers.files import CheckpointFiles
from ..poolers.spec import SIMILARITIES, PoolingSpec
from ..runtime.manifest import (
    FORMAT,
    MANIFEST_NAME,
    GraphInfo,
    Manifest,
    SourceInfo,
    TokenizerPolicy,
    encode_manifest,
)
from .source import Source

_PRODUCERS = ("pool-export", "torch", "transformers", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "tokenizers")


def assemble(
    source: Source,
    spec: PoolingSpec,
    policy: TokenizerPolicy,
    graphs: Mapping[str, GraphInfo],
    *,
    adopted_from: str = "",
) -> Manifest:
    """Describe a bundle.

    Args:
        source: the checkpoint.
        spec: its resolved head.
        policy: how its texts become tokens.
        graphs: precision -> graph as written.
        adopted_from: path of the ONNX file that was taken over, where nothing was traced.
    """
    return Manifest(
        format=FORMAT,
        source=SourceInfo(
            id=source.id,
            architecture=source.files.architecture,
            model_type=source.files.model_type,
            revision=source.revision,
            licence=source.licence,
            adopted_from=adopted_from,
        ),
        tasks=spec.tasks,
        pooling=spec,
        tokenizer=policy,
        graphs=dict(graphs),
        producer=_producers(left_out=("torch", "transformers", "onnxscript") if adopted_from else ()),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        similarity=similarity(source.files, spec),
        card=source.card,
    )


def graph_metadata(source: Source, spec: PoolingSpec, policy: TokenizerPolicy) -> dict[str, str]:
    """The manifest's essentials, for hosts that have the graph file alone."""
    return {
        "pool_export.format": str(FORMAT),
        "pool_export.source": source.id,
        "pool_export.revision": source.revision,
        "pool_export.architecture": source.files.architecture,
        "pool_export.convert": spec.convert,
        "pool_export.tasks": ",".join(spec.tasks),
        "pool_export.pooling_type": ",".join(spec.pooling),
        "pool_export.activation": spec.activation if spec.use_activation else "identity",
        "pool_export.embedding_size": str(spec.embedding_size or ""),
        "pool_export.matryoshka_dimensions": ",".join(map(str, spec.matryoshka_dimensions)),
        "pool_export.labels": json.dumps(list(spec.labels), ensure_ascii=False),
        "pool_export.max_length": str(policy.max_length),
        "pool_export.pad_token_id": str(policy.pad_token_id),
        "pool_export.version": importlib.metadata.version("pool-export"),
    }


def _producers(left_out: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in _PRODUCERS:
        if name in left_out:
            continue
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``pool_export.json``, over an earlier one."""
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(manifest))


def similarity(files: CheckpointFiles, spec: PoolingSpec) -> str:
    """Name the similarity of a checkpoint's vectors; cosine where it says nothing.

    Raises:
        ConfigError: an embedder of texts names one that ``score`` does not have.
    """
    if spec.is_sparse_only and spec.sparse is not None:
        return spec.sparse.similarity
    if spec.is_token_level and spec.late_interaction is not None:
        return spec.late_interaction.similarity
    name = str(files.st_config.get("similarity_fn_name") or "cosine")
    if spec.convert == "embed" and not spec.is_token_level and name not in SIMILARITIES:
        raise ConfigError(
            f"config_sentence_transformers.json: unknown similarity_fn_name {name!r}{closest(name, SIMILARITIES)}"
        )
    return name
