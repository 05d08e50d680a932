"""Everything in a bundle besides graph and manifest: tokenizer, config, sentence-transformers files, golden."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..poolers.image_text import IMAGE_TEXT
from ..poolers.parts import HeadStep, StepKind
from ..poolers.spec import PoolingSpec, PoolingType
from ..poolers.st_activations import class_path
from ..runtime.golden import GOLDEN_FORMAT
from ..runtime.manifest import GOLDEN_NAME, TokenizerPolicy
from .errors import ExportError, SourceError
from .quiet import quiet
from .samples import Sample
from .source import STEP_WEIGHTS, Source
from .vector_files import write_multi_vector, write_sparse_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GOLDEN_TOKENS = 48
_GOLDEN_NUMBERS = 20_000  # token-level outputs of a wide model would make the file enormous
_GOLDEN_OUTPUTS = (
    "sentence_embedding",
    "sparse_embedding",
    "token_weights",
    "logits",
    "probs",
    "rewards",
    "token_embeddings",
)

# Vocabulary files of hosts that do not read tokenizer.json (.NET, sentencepiece bindings).
VOCABULARY_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)

_CROSS_ENCODER = "CrossEncoder"  # `model_type` in config_sentence_transformers.json
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


def write_tokenizer(folder: Path, source: Source, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Write the tokenizer files that every host looks for.

    ``tokenizer.json`` carries neither padding nor truncation: fixed ones break ragged batches in
    hosts that honour them (fastembed#703). ``special_tokens_map.json`` is written because
    fastembed needs it and transformers 5 stopped writing it.

    Raises:
        SourceError: the tokenizer has no ``tokenizer.json`` form.
        ExportError: a file cannot be written.
    """
    with quiet():
        try:
            tokenizer.save_pretrained(folder)
        except OSError:
            raise
        except Exception as error:  # the Rust half has no class of its own for a full disk
            raise ExportError(f"{source.id}: the tokenizer cannot be written: {error}") from error
    for code in folder.glob("*.py"):
        code.unlink()  # a tokenizer of the repo's own writes its code beside it; a bundle runs none
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise SourceError(f"{source.id}: {type(tokenizer).__name__} did not write tokenizer.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["padding"] = content["truncation"] = None
    write_json(path, content, indent=None)
    names = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    write_json(folder / "special_tokens_map.json", names)
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["model_max_length"] = max_length
    config.pop("auto_map", None)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"  # its name before transformers 5, which still knows it
    write_json(config_path, config)
    for name in VOCABULARY_FILES:
        if (source.model_folder / name).is_file() and not (folder / name).exists():
            shutil.copyfile(source.model_folder / name, folder / name)


def write_config(folder: Path, source: Source, spec: PoolingSpec) -> None:
    """Write ``config.json`` as the graph was made from it, overrides included.

    A cross-encoder's activation is repeated where vLLM and sentence-transformers before 5.4 look for it.
    """
    config = {key: value for key, value in source.files.config.items() if key != "auto_map"}  # code that stays behind
    stated = source.files.st_config
    if stated.get("model_type") == _CROSS_ENCODER and stated.get("activation_fn"):
        config["sentence_transformers"] = {"activation_fn": stated["activation_fn"]}
        config["sbert_ce_default_activation_function"] = stated["activation_fn"]  # before 4.0
    if spec.classifier_method is not None:
        # Hosts that know nothing of the method still count the labels right (transformers' default is two).
        config["id2label"] = {str(index): label for index, label in enumerate(spec.labels)}
        config["label2id"] = {label: index for index, label in enumerate(spec.labels)}
        config["num_labels"] = spec.num_labels
    write_json(folder / "config.json", config)


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
        return source.files.st_config.get("model_type") == _CROSS_ENCODER and not is_calibrated
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
    if spec.convert == "embed" and stated.get("model_type") == _CROSS_ENCODER:
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


def write_golden(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    expected: Sequence[dict[str, np.ndarray]],
    tolerance: tuple[float, float] = (1e-4, 0.99999),
    longest: int = GOLDEN_TOKENS,
) -> int:
    """Write ``golden.json`` from the reference's outputs; return the number of cases.

    Args:
        folder: bundle folder.
        name: model id.
        samples: the gate's inputs.
        expected: the reference's outputs, in the same order.
        tolerance: largest difference and least cosine that a host may answer with.
        longest: longer texts, in tokens, are left out.
    """
    cases: list[dict[str, Any]] = [
        {
            "text": sample.prompt.text,
            "pair": sample.prompt.pair,
            "input_ids": sample.encoded.ids,
            "token_type_ids": sample.encoded.type_ids,
            **_golden_extras(sample),
            "outputs": {key: _stated(key, value) for key, value in _golden_outputs(outputs).items()},
        }
        for sample, outputs in zip(samples, expected, strict=True)
        if sample.prompt.text is not None
        if sum(_count(key, value) for key, value in _golden_outputs(outputs).items()) <= _GOLDEN_NUMBERS
        # A template alone is longer than that.
        if len(sample.encoded) <= longest or sample.rendered_from is not None
    ]
    golden: dict[str, Any] = {
        "format": GOLDEN_FORMAT,
        "model": name,
        "tolerance": {"max_abs": tolerance[0], "min_cosine": tolerance[1]},
        "cases": cases,
    }
    write_json(folder / GOLDEN_NAME, golden, indent=None)
    return len(cases)


def _golden_extras(sample: Sample) -> dict[str, Any]:
    """What only some cases have: the pair behind a rendered template, and what a prompt keeps out of pooling."""
    extras: dict[str, Any] = {}
    if sample.rendered_from is not None:
        extras["rendered_from"] = list(sample.rendered_from)
    if sample.prompt.unpooled:
        hidden, total = sample.encoded.prompt_length, len(sample.encoded)
        extras |= {"unpooled": sample.prompt.unpooled, "pooling_mask": [0] * hidden + [1] * (total - hidden)}
    return extras


def _golden_outputs(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs a host replays; token vectors only where they are what the head answers."""
    left_out = {"token_embeddings"} if "sentence_embedding" in outputs else set()
    return {key: value for key, value in outputs.items() if key in _GOLDEN_OUTPUTS and key not in left_out}


def _count(name: str, values: np.ndarray) -> int:
    """How many numbers an output takes in the file."""
    return 2 * int(np.count_nonzero(values)) if name == "sparse_embedding" else values.size


def _stated(name: str, values: np.ndarray) -> Any:
    """One output as the file has it: nested lists, or the non-zero entries of a vector as wide as a vocabulary."""
    if name != "sparse_embedding":
        return _rounded(values)
    indices = np.flatnonzero(values)
    return {"size": values.size, "indices": indices.tolist(), "values": _rounded(values[indices])}


def _rounded(values: np.ndarray) -> Any:
    """Nested lists at float32 precision."""
    return (
        np.vectorize(lambda x: float(f"{x:.8g}"), otypes=[object])(values).tolist() if values.size else values.tolist()
    )


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a JSON file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
