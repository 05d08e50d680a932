"""Write sentence-transformers' side files around a checkpoint: modules, pooling, Dense, prompts.

Both dialects found on the Hub: ``old`` (``pooling_mode_*`` booleans, ``sentence_transformers.models.*``)
and ``new`` (what sentence-transformers 6 saves). Needs numpy, safetensors and tokenizers, not the library itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, normalizers

from ..poolers.errors import ConfigError, closest

Dialect = Literal["old", "new"]
DenseLayer = tuple[int, int, str]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

# Pooling mode -> its boolean in the old dialect, in the order in which results are concatenated.
POOLING_MODES: dict[str, str] = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
ACTIVATIONS: dict[str, str] = {
    "identity": "torch.nn.modules.linear.Identity",
    "tanh": "torch.nn.modules.activation.Tanh",
    "relu": "torch.nn.modules.activation.ReLU",
    "gelu": "torch.nn.modules.activation.GELU",
    "silu": "torch.nn.modules.activation.SiLU",
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
}
_MODULE_PATHS: dict[str, dict[str, str]] = {
    "old": {
        name: f"sentence_transformers.models.{name}"
        for name in ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize")
    },
    "new": {
        "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
        "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        "Dense": "sentence_transformers.base.modules.dense.Dense",
        "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm",
        "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    },
}
_KEYS = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
_VERSIONS: dict[str, dict[str, str]] = {
    "old": {"sentence_transformers": "2.2.2", "transformers": "4.28.1", "pytorch": "1.13.1"},
    "new": {"sentence_transformers": "6.2.0", "transformers": "5.23.0", "pytorch": "2.13.0"},
}
_TRANSFORMER_CONFIG = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
# What `config.json` calls the width of the hidden states.
_WIDTH_KEYS = ("hidden_size", "d_model", "dim", "n_embd")


@dataclass(frozen=True)
class _Module:
    kind: str
    config: Mapping[str, Any] | None
    weights: Mapping[str, np.ndarray] | None = None


def _read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _width(folder: Path) -> int:
    config = _read_json(folder / "config.json")
    for key in _WIDTH_KEYS:
        if key in config:
            return int(config[key])
    raise ConfigError(f"{folder / 'config.json'} has none of {', '.join(_WIDTH_KEYS)}")


def _pooling(modes: Sequence[str], width: int, dialect: Dialect, include_prompt: bool) -> _Module:
    if not modes:
        raise ConfigError(f"give at least one pooling mode of {', '.join(POOLING_MODES)}")
    for mode in modes:
        if mode not in POOLING_MODES:
            raise ConfigError(f"unknown sentence-transformers pooling mode {mode!r}{closest(mode, POOLING_MODES)}")
    if dialect == "new":
        names = modes[0] if len(modes) == 1 else list(modes)
        config = {"embedding_dimension": width, "pooling_mode": names, "include_prompt": include_prompt}
        return _Module("Pooling", config)
    in_order = [mode for mode in POOLING_MODES if mode in modes]
    if list(modes) != in_order:
        raise ConfigError(f"the old dialect concatenates {in_order} in this order, got {list(modes)}")
    flags = {flag: mode in modes for mode, flag in POOLING_MODES.items()}
    return _Module("Pooling", {"word_embedding_dimension": width, **flags, "include_prompt": include_prompt})


def _dense(layer: DenseLayer, width: int, dialect: Dialect, bias: bool, random: np.random.Generator) -> _Module:
    size_in, size_out, activation = layer
    if size_in != width:
        raise ConfigError(f"a Dense layer must take the {width} values before it, got in_features={size_in}")
    if activation not in ACTIVATIONS and "." not in activation:
        raise ConfigError(f"unknown activation {activation!r}{closest(activation, ACTIVATIONS)}")
    weight = random.standard_normal((size_out, size_in)) / np.sqrt(size_in)
    weights = {"linear.weight": weight.astype(np.float32)}
    if bias:
        weights["linear.bias"] = (0.1 * random.standard_normal(size_out)).astype(np.float32)
    config = {
        "in_features": size_in,
        "out_features": size_out,
        "bias": bias,
        "activation_function": ACTIVATIONS.get(activation, activation),
        **(_KEYS if dialect == "new" else {}),
    }
    return _Module("Dense", config, weights)


def _layer_norm(width: int, random: np.random.Generator) -> _Module:
    weights = {
        "norm.weight": (1 + 0.1 * random.standard_normal(width)).astype(np.float32),
        "norm.bias": (0.1 * random.standard_normal(width)).astype(np.float32),
    }
    return _Module("LayerNorm", {"dimension": width}, weights)


def _settings(
    dialect: Dialect, prompts: dict[str, str], default_prompt_name: str | None, similarity_fn_name: str | None
) -> dict[str, Any]:
    if dialect not in DIALECTS:
        raise ConfigError(f"unknown dialect {dialect!r}{closest(dialect, DIALECTS)}")
    if default_prompt_name is not None and default_prompt_name not in prompts:
        raise ConfigError(f"default_prompt_name {default_prompt_name!r} is not among the prompts {list(prompts)}")
    settings: dict[str, Any] = {
        "__version__": _VERSIONS[dialect],
        "prompts": prompts,
        "default_prompt_name": default_prompt_name,
        "similarity_fn_name": similarity_fn_name,
    }
    if dialect == "new":
        settings["prompts"] = {"query": "", "document": "", **prompts}
        settings["model_type"] = "SentenceTransformer"
    return settings


def _write_module_files(folder: Path, modules: Sequence[_Module], dialect: Dialect) -> None:
    paths = ["", *(f"{index}_{module.kind}" for index, module in enumerate(modules, start=1))]
    kinds = ["Transformer", *(module.kind for module in modules)]
    rows = [
        {"idx": index, "name": str(index), "path": path, "type": _MODULE_PATHS[dialect][kind]}
        for index, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    _write_json(folder / "modules.json", rows)
    for path, module in zip(paths[1:], modules, strict=True):
        if module.config is not None:
            _write_json(folder / path / "config.json", module.config)
        if module.weights is not None:
            save_file(dict(module.weights), folder / path / "model.safetensors", metadata={"format": "pt"})


def _write_transformer_files(folder: Path, dialect: Dialect, max_seq_length: int | None, lower: bool) -> None:
    if dialect == "old":
        config = {"max_seq_length": max_seq_length, "do_lower_case": lower}
        _write_json(folder / "sentence_bert_config.json", config)
        return
    # The new dialect keeps both in the tokenizer's own files.
    _write_json(folder / "sentence_bert_config.json", _TRANSFORMER_CONFIG)
    if max_seq_length is not None:
        settings = _read_json(folder / "tokenizer_config.json")
        _write_json(folder / "tokenizer_config.json", {**settings, "model_max_length": max_seq_length})
    if lower:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        present = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *present])
        tokenizer.save(str(folder / "tokenizer.json"))


def write_modules(
    folder: str | Path,
    *,
    pooling: str | Sequence[str] = "mean",
    normalize: bool = True,
    dense: Sequence[DenseLayer] = (),
    dense_bias: bool = True,
    layer_norm: bool = False,
    dialect: Dialect = "new",
    max_seq_length: int | None = None,
    prompts: Mapping[str, str] | None = None,
    default_prompt_name: str | None = None,
    similarity_fn_name: str | None = "cosine",
    do_lower_case: bool = False,
    include_prompt: bool = True,
    seed: int = 0,
) -> Path:
    """Turn a checkpoint folder into a sentence-transformers model and return the folder.

    The chain is Transformer, Pooling, each Dense, LayerNorm, Normalize.

    Args:
        folder: holds ``config.json`` and the tokenizer files.
        pooling: one of ``POOLING_MODES``, or several whose results are concatenated.
        normalize: whether the chain ends with unit-length vectors.
        dense: ``(in_features, out_features, activation)``; one of ``ACTIVATIONS`` or a ``torch.nn`` path.
        dense_bias: whether Dense layers have a bias.
        layer_norm: whether a LayerNorm follows them.
        dialect: which generation of file formats to write.
        max_seq_length: tokens kept of a text; the tokenizer's own limit when ``None``.
        prompts: prompt texts by name.
        default_prompt_name: the prompt used when none is named.
        similarity_fn_name: ``cosine``, ``dot``, ``euclidean``, ``manhattan`` or ``None``.
        do_lower_case: lower-case texts before the tokenizer's own normaliser.
        include_prompt: whether prompt tokens take part in pooling.
        seed: chooses the weights of Dense and LayerNorm.

    Raises:
        ConfigError: an unknown name, sizes that do not chain, or modes the dialect cannot express.
    """
    target = Path(folder)
    settings = _settings(dialect, dict(prompts or {}), default_prompt_name, similarity_fn_name)
    modes = [pooling] if isinstance(pooling, str) else list(pooling)
    random = np.random.default_rng(seed)
    width = _width(target)
    modules = [_pooling(modes, width, dialect, include_prompt)]
    width *= len(modes)
    for layer in dense:
        modules.append(_dense(layer, width, dialect, dense_bias, random))
        width = layer[1]
    modules += [_layer_norm(width, random)] if layer_norm else []
    modules += [_Module("Normalize", _KEYS if dialect == "new" else None)] if normalize else []
    _write_module_files(target, modules, dialect)
    _write_transformer_files(target, dialect, max_seq_length, do_lower_case)
    _write_json(target / "config_sentence_transformers.json", settings)
    return target
