"""sentence-transformers' files of sparse and multi-vector bundles, for its SparseEncoder and MultiVectorEncoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..poolers.parts import HeadStep, LateInteraction, TextSide
from ..poolers.spec import PoolingSpec
from ..poolers.st_activations import class_path
from ..runtime.manifest import TokenizerPolicy
from .source import Source

_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
_SPLADE = "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling"
_MASK = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"
_STEPS = {
    "dense": ("Dense", "sentence_transformers.base.modules.dense.Dense"),
    "layer_norm": ("LayerNorm", "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm"),
    "normalize": ("Normalize", "sentence_transformers.base.modules.normalize.Normalize"),
}
_TOKENS = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}


def write_sparse_encoder(folder: Path, source: Source, spec: PoolingSpec, policy: TokenizerPolicy) -> None:
    """Write the files of a SparseEncoder: Transformer (fill-mask) and SpladePooling."""
    head = spec.sparse
    if head is None:
        return
    _write_modules(folder, [("", _TRANSFORMER), ("1_SpladePooling", _SPLADE)])
    _write(
        folder / "1_SpladePooling" / "config.json",
        {
            "pooling_strategy": head.strategy,
            "activation_function": head.function,
            "embedding_dimension": spec.embedding_size,
        },
    )
    _write(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "fill-mask",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "token_embeddings",
        },
    )
    stated = {"prompts": policy.prompts, "default_prompt_name": policy.default_prompt_name, **source.files.st_config}
    extra = {} if head.max_active_dims is None else {"max_active_dims": head.max_active_dims}
    _write_settings(folder, {**stated, "model_type": "SparseEncoder", "similarity_fn_name": head.similarity, **extra})


def write_multi_vector(folder: Path, source: Source, spec: PoolingSpec) -> None:
    """Write the files of a MultiVectorEncoder: Transformer, projection, mask, Normalize."""
    late = spec.late_interaction
    if late is None:
        return
    modules = [("", _TRANSFORMER)]
    for step in spec.steps:
        name, kind = _STEPS[step.kind]
        path = f"{len(modules)}_{name}"
        _write_step(folder / path, source, step)
        modules.append((path, kind))
    modules.append((f"{len(modules)}_MultiVectorMask", _MASK))
    tasks = [name for name, side in (("query", late.query), ("document", late.document)) if side.skips]
    mask = {"skiplist_words": list(late.skiplist_words), "skiplist_tasks": tasks, "keep_only_token_ids": None}
    _write(folder / modules[-1][0] / "config.json", mask)
    if spec.use_activation:
        modules.append((f"{len(modules)}_Normalize", _STEPS["normalize"][1]))
        _write(folder / modules[-1][0] / "config.json", _TOKENS)
    _write_modules(folder, modules)
    _write(folder / "sentence_bert_config.json", _transformer_config(late))
    prompts = {"query": late.query.prompt, "document": late.document.prompt}
    settings = {"model_type": "MultiVectorEncoder", "prompts": prompts, "default_prompt_name": None}
    _write_settings(folder, {**settings, "similarity_fn_name": late.similarity, **_markers(late)})


def _transformer_config(late: LateInteraction) -> dict[str, Any]:
    expansion = late.expansion
    config: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "query_length": None if expansion is not None and expansion.is_fixed else late.query.max_length,
        "document_length": late.document.max_length,
        "query_expansion": None,
    }
    if expansion is not None:
        config["query_expansion"] = {
            "strategy": "fixed" if expansion.is_fixed else "min",
            "attend": expansion.attend,
            "token": expansion.token,
            "length": expansion.length,
        }
    return config


def _markers(late: LateInteraction) -> dict[str, str]:
    """PyLate's keys, which sentence-transformers reads by registering the marker as one token."""
    sides: tuple[tuple[str, TextSide], ...] = (("query", late.query), ("document", late.document))
    return {f"{name}_prefix": side.marker for name, side in sides if side.marker}


def _write_step(folder: Path, source: Source, step: HeadStep) -> None:
    if step.path:
        shutil.copytree(source.folder / step.path, folder)
        return
    config = {"in_features": step.in_features, "out_features": step.out_features, "bias": step.bias}
    _write(folder / "config.json", {**config, "activation_function": class_path(step.activation), **_TOKENS})
    # torch; a graph that was adopted without it has no such step
    from safetensors.torch import save_file

    from .adapters import step_weights

    tensors = step_weights(source, step)
    if tensors:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def _write_modules(folder: Path, modules: list[tuple[str, str]]) -> None:
    entries = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)]
    _write(folder / "modules.json", entries)


def _write_settings(folder: Path, settings: dict[str, Any]) -> None:
    _write(folder / "config_sentence_transformers.json", settings)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
