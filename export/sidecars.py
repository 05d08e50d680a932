"""Everything in a bundle besides graph and manifest: tokenizer, config, sentence-transformers files, golden."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..poolers.image_text import IMAGE_TEXT
from ..poolers.spec import PoolingSpec, PoolingType
from ..runtime.golden import GOLDEN_FORMAT
from ..runtime.manifest import GOLDEN_NAME, TokenizerPolicy
from .errors import ExportError, SourceError
from .quiet import quiet
from .samples import Sample
from .source import Source

GOLDEN_TOKENS = 48
_GOLDEN_NUMBERS = 20_000  # token-level outputs of a wide model would make the file enormous
_GOLDEN_OUTPUTS = ("sentence_embedding", "logits", "probs", "rewards", "token_embeddings")

# Vocabulary files of hosts that do not read tokenizer.json (.NET, sentencepiece bindings).
_VOCABULARY_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)

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
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise SourceError(f"{source.id}: {type(tokenizer).__name__} did not write tokenizer.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["padding"] = content["truncation"] = None
    _write_json(path, content, indent=None)
    names = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    _write_json(folder / "special_tokens_map.json", names)
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["model_max_length"] = max_length
    _write_json(config_path, config)
    for name in _VOCABULARY_FILES:
        if (source.model_folder / name).is_file() and not (folder / name).exists():
            shutil.copyfile(source.model_folder / name, folder / name)


def write_config(folder: Path, source: Source) -> None:
    """Write ``config.json`` as the graph was made from it, overrides included."""
    _write_json(folder / "config.json", dict(source.files.config))


def write_sentence_transformers(folder: Path, source: Source, spec: PoolingSpec, policy: TokenizerPolicy) -> None:
    """Write ``modules.json`` and its folders in the dialect that old and new readers understand."""
    if spec.convert != "embed" or spec.is_token_level or source.files.architecture in IMAGE_TEXT:
        return
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    _write_json(folder / "1_Pooling" / "config.json", _pooling_config(source, spec))
    for step in spec.steps:
        name = f"{len(modules)}_{'Normalize' if step.kind == 'normalize' else step.path.rsplit('_', 1)[-1]}"
        if step.kind != "normalize":
            shutil.copytree(source.folder / step.path, folder / name)
        modules.append((name, {"dense": "Dense", "layer_norm": "LayerNorm", "normalize": "Normalize"}[step.kind]))
    if spec.use_activation:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    entries = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    _write_json(folder / "modules.json", entries)
    _write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": policy.max_length, "do_lower_case": source.lower_case},
    )
    stated = dict(source.files.st_config)
    stated.setdefault("prompts", policy.prompts)
    stated.setdefault("default_prompt_name", policy.default_prompt_name)
    _write_json(folder / "config_sentence_transformers.json", stated)


def _pooling_config(source: Source, spec: PoolingSpec) -> dict[str, Any]:
    """Prefer the old form: releases before 5.4 fail on unknown keys, TEI requires the booleans, newer ones read both.

    The booleans have one order of concatenation; another order needs the new form.
    """
    entries = source.files.modules or ()
    configs = [source.files.module_configs.get(str(entry.get("path"))) or {} for entry in entries]
    # Prompt tokens left out of pooling (INSTRUCTOR): a key of the Pooling module in either form.
    extra = {"include_prompt": False} if any(config.get("include_prompt") is False for config in configs) else {}
    if [kind for kind in _ST_MODES if kind in spec.pooling] != list(spec.pooling):
        modes = [_ST_MODES[kind][1] for kind in spec.pooling]
        return {"embedding_dimension": spec.hidden_size, "pooling_mode": modes, **extra}
    flags = {flag: kind in spec.pooling for kind, (flag, _) in _ST_MODES.items()}
    return {"word_embedding_dimension": spec.hidden_size, **flags, **extra}


def write_golden(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    expected: Sequence[dict[str, np.ndarray]],
    longest: int = GOLDEN_TOKENS,
) -> int:
    """Write ``golden.json`` from the reference's outputs; return the number of cases.

    Args:
        folder: bundle folder.
        name: model id.
        samples: the gate's inputs.
        expected: the reference's outputs, in the same order.
        longest: longer texts, in tokens, are left out.
    """
    cases: list[dict[str, Any]] = [
        {
            "text": sample.prompt.text,
            "pair": sample.prompt.pair,
            "input_ids": sample.encoded.ids,
            "token_type_ids": sample.encoded.type_ids,
            "outputs": {key: _rounded(value) for key, value in _golden_outputs(outputs).items()},
        }
        for sample, outputs in zip(samples, expected, strict=True)
        if sample.prompt.text is not None
        if sum(value.size for value in _golden_outputs(outputs).values()) <= _GOLDEN_NUMBERS
        if len(sample.encoded) <= longest
    ]
    golden: dict[str, Any] = {
        "format": GOLDEN_FORMAT,
        "model": name,
        "tolerance": {"max_abs": 1e-4, "min_cosine": 0.99999},
        "cases": cases,
    }
    _write_json(folder / GOLDEN_NAME, golden, indent=None)
    return len(cases)


def _golden_outputs(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs a host replays; token vectors only where they are what the head answers."""
    left_out = {"token_embeddings"} if "sentence_embedding" in outputs else set()
    return {key: value for key, value in outputs.items() if key in _GOLDEN_OUTPUTS and key not in left_out}


def _rounded(values: np.ndarray) -> Any:
    """Nested lists at float32 precision."""
    return (
        np.vectorize(lambda x: float(f"{x:.8g}"), otypes=[object])(values).tolist() if values.size else values.tolist()
    )


def _write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
