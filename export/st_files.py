"""A bundle's sentence-transformers files: ``modules.json``, module folders, settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..poolers.image_text import IMAGE_TEXT
from ..poolers.parts import HeadStep, StepKind
from ..poolers.spec import PoolingSpec, PoolingType
from ..poolers.st_activations import class_path
from ..runtime.manifest import TokenizerPolicy
from .source import STEP_WEIGHTS, Source
from .vector_files import write_multi_vector, write_sparse_encoder

if TYPE_CHECKING:
    pass
from .sidecars import CROSS_ENCODER, write_json

_ST_KINDS: dict[StepKind, str] = {"dense": "Dense", "layer_norm": "LayerNorm", "normalize": "Normalize"}

# Pooling type -> its old boolean and its new mode, in the order in which the booleans are concatenated.
_ST_MODES: dict[PoolingType, tuple[str, str]] = {
    "CLS": ("pooling_mode_cls_token", "cls"),
    "MAX": ("pooling_mode_max_tokens", "max"),
    "MEAN": ("pooling_mode_mean_tokens", "mean"),
    "MEAN_SQRT_LEN": ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    "WEIGHTED_MEAN": ("pooling_mode_weightedmean_tokens", "weightedmean"),
    "LAST": ("pooling_mode_lasttoken", "lasttoken"),
}


def write_sentence_transformers(folder: Path, source: Source, spec: PoolingSpec, policy: TokenizerPolicy) -> None:
    """Write ``modules.json`` and its folders in the dialect that old and new readers understand."""
    if spec.is_sparse_only:
        return write_sparse_encoder(folder, source, spec, policy)
    if spec.convert == "embed" and spec.is_token_level:
        return write_multi_vector(folder, source, spec)
    if not _has_st_form(source, spec):
        return None
    modules = [("", "Transformer")]
    if not spec.has_classifier:
        modules += _write_chain(folder, source, spec)
    entries = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    write_json(folder / "modules.json", entries)
    # Only a head of the model's own class needs the key that releases before 5.4 do not know.
    task = {"transformer_task": "sequence-classification"} if spec.has_classifier else {}
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": policy.max_length, "do_lower_case": source.lower_case, **task},
    )
    write_json(folder / "config_sentence_transformers.json", _settings(source, spec, policy))


def _has_st_form(source: Source, spec: PoolingSpec) -> bool:
    """Whether sentence-transformers can say what the head does: it has one row a text, and knows no calibration."""
    if spec.convert == "classify":
        is_calibrated = spec.logit_mean is not None or spec.logit_sigma is not None
        return source.files.st_config.get("model_type") == CROSS_ENCODER and not is_calibrated
    return spec.convert == "embed" and not spec.is_token_level and source.files.architecture not in IMAGE_TEXT


def _settings(source: Source, spec: PoolingSpec, policy: TokenizerPolicy) -> dict[str, Any]:
    """What ``config_sentence_transformers.json`` said, made true for the head that was exported."""
    stated = dict(source.files.st_config)
    stated.setdefault("prompts", policy.prompts)
    stated.setdefault("default_prompt_name", policy.default_prompt_name)
    if spec.dimensions is not None:
        stated["truncate_dim"] = spec.dimensions
    if spec.convert == "classify" and not spec.has_classifier:
        stated["activation_fn"] = class_path(spec.activation if spec.use_activation else "identity")
    if spec.convert == "embed" and stated.get("model_type") == CROSS_ENCODER:
        stated["model_type"] = "SentenceTransformer"
        stated.pop("activation_fn", None)
    return stated


def _write_chain(folder: Path, source: Source, spec: PoolingSpec) -> list[tuple[str, str]]:
    """Write the folders of the modules after the transformer; return each one's folder and class."""
    modules: list[tuple[str, str]] = []

    def add(kind: str) -> Path:
        modules.append((f"{len(modules) + 1}_{kind}", kind))
        return folder / modules[-1][0]

    for step in spec.token_steps:
        _write_step(add(_ST_KINDS[step.kind]), source, step, _names("token_embeddings"))
    write_json(add("Pooling") / "config.json", _pooling_config(source, spec))
    for index, step in enumerate(spec.steps, start=1):
        is_score = spec.convert == "classify" and index == len(spec.steps)
        names = {"module_output_name": "scores"} if is_score else {}
        _write_step(add(_ST_KINDS[step.kind]), source, step, names)
    if spec.convert == "embed" and spec.use_activation:
        add("Normalize")
    return modules


def _names(name: str) -> dict[str, str]:
    return {"module_input_name": name, "module_output_name": name}


def _write_step(folder: Path, source: Source, step: HeadStep, names: dict[str, str]) -> None:
    """Copy a module's weights, and write its settings without those at their default: old readers fail on them."""
    config: dict[str, Any] = dict(names)
    if step.kind == "layer_norm":
        config = {"dimension": step.in_features}
    elif step.kind == "dense":
        stated = source.files.module_configs.get(step.path, {}).get("activation_function", "")
        config = {
            "in_features": step.in_features,
            "out_features": step.out_features,
            "bias": step.bias,
            "activation_function": class_path(step.activation, str(stated)),
            **names,
            **({"use_residual": True} if step.residual else {}),
        }
    if config:
        write_json(folder / "config.json", config)
    for name in STEP_WEIGHTS if step.path else ():
        if (source.folder / step.path / name).is_file():
            shutil.copyfile(source.folder / step.path / name, folder / name)


def _pooling_config(source: Source, spec: PoolingSpec) -> dict[str, Any]:
    """Prefer the old form: releases before 5.4 fail on unknown keys, TEI requires the booleans, newer ones read both.

    The booleans have one order of concatenation; another order needs the new form.
    """
    sizes = [step.out_features for step in spec.token_steps if step.out_features]
    width = sizes[-1] if sizes else spec.hidden_size
    entries = source.files.modules or ()
    configs = [source.files.module_configs.get(str(entry.get("path"))) or {} for entry in entries]
    # Prompt tokens left out of pooling (INSTRUCTOR): a key of the Pooling module in either form.
    extra = {"include_prompt": False} if any(config.get("include_prompt") is False for config in configs) else {}
    if [kind for kind in _ST_MODES if kind in spec.pooling] != list(spec.pooling):
        modes = [_ST_MODES[kind][1] for kind in spec.pooling]
        return {"embedding_dimension": width, "pooling_mode": modes, **extra}
    flags = {flag: kind in spec.pooling for kind, (flag, _) in _ST_MODES.items()}
    return {"word_embedding_dimension": width, **flags, **extra}
