"""Read sentence-transformers' ``modules.json`` and module configs, in both dialects.

Old dialect: ``pooling_mode_*`` booleans, ``word_embedding_dimension``, module paths under
``sentence_transformers.models``. New dialect (5.4 and later): ``pooling_mode`` as a string or
list, ``embedding_dimension``, ``include_prompt``, module paths by archetype. Pure functions over
parsed JSON; a module that has no counterpart in the graph is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError
from .spec import HeadStep, PoolingType

# Concatenation order of the old booleans, as sentence-transformers' own forward has it.
_LEGACY_MODES: dict[str, PoolingType] = {
    "pooling_mode_cls_token": "CLS",
    "pooling_mode_max_tokens": "MAX",
    "pooling_mode_mean_tokens": "MEAN",
    "pooling_mode_mean_sqrt_len_tokens": "MEAN_SQRT_LEN",
    "pooling_mode_weightedmean_tokens": "WEIGHTED_MEAN",
    "pooling_mode_lasttoken": "LAST",
}

_MODES: dict[str, PoolingType] = {
    "cls": "CLS",
    "max": "MAX",
    "mean": "MEAN",
    "mean_sqrt_len_tokens": "MEAN_SQRT_LEN",
    "weightedmean": "WEIGHTED_MEAN",
    "lasttoken": "LAST",
}

# Class path -> the function the graph computes. Names are sentence-transformers' own saves.
DENSE_ACTIVATIONS: dict[str, str] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}

SUPPORTED_MODULES: tuple[str, ...] = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")


@dataclass(frozen=True)
class ModuleChain:
    """What a sentence-transformers checkpoint says about its head.

    Attributes:
        transformer_path: folder of the transformer, empty for the root.
        pooling: what Pooling concatenates; ``None`` without such a module (cross-encoders, ColBERT).
        steps: the modules after it, the final Normalize excepted.
        normalize: whether Normalize comes last.
        include_prompt: whether Pooling counts the tokens of a prompt.
    """

    transformer_path: str
    pooling: tuple[PoolingType, ...] | None
    steps: tuple[HeadStep, ...]
    normalize: bool
    include_prompt: bool = True


def module_kind(entry: Mapping[str, Any]) -> str:
    """Return the class name of one ``modules.json`` entry (``Pooling``, ``Dense`` ...)."""
    return str(entry.get("type", "")).rsplit(".", 1)[-1]


def is_supported(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is one of the sentence-transformers modules the graph can hold.

    PyLate's ``Dense`` shares the format; a repo's own class of the same name does not count.
    """
    owner = str(entry.get("type", "")).split(".", 1)[0]
    return owner in ("sentence_transformers", "pylate") and module_kind(entry) in SUPPORTED_MODULES


def has_pooling(modules: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether ``modules.json`` declares a Pooling module (this makes a repo a pooling model)."""
    return any(module_kind(entry) == "Pooling" for entry in modules or ())


def parse_chain(modules: Sequence[Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]]) -> ModuleChain:
    """Read the module chain.

    Args:
        modules: the parsed ``modules.json``.
        configs: module folder -> its parsed ``config.json``.

    Raises:
        ConfigError: a module, an order, or a setting the graph cannot represent.
    """
    transformer_path = ""
    pooling: tuple[PoolingType, ...] | None = None
    include_prompt = True
    steps: list[HeadStep] = []
    for position, entry in enumerate(modules):
        path, kind = str(entry.get("path", "")), module_kind(entry)
        if not is_supported(entry):
            raise ConfigError(
                f"modules.json entry {position} is {entry.get('type')!r}, which cannot be put in the graph; "
                f"supported sentence-transformers modules: {', '.join(SUPPORTED_MODULES)}"
            )
        if (kind == "Transformer") != (position == 0):
            raise ConfigError(f"modules.json entry {position} is {kind}; expected one Transformer, in first place")
        if kind == "Transformer":
            transformer_path = path
        elif kind == "Pooling":
            if pooling is not None or steps:
                raise ConfigError(f"modules.json entry {position}: Pooling must come once, right after Transformer")
            pooling = _parse_pooling(configs.get(path, {}), path)
            include_prompt = bool(configs.get(path, {}).get("include_prompt", True))
        elif kind != "Dropout":  # dropout does nothing at inference
            steps.append(_parse_step(kind, configs.get(path, {}), path))
    normalize = bool(steps) and steps[-1].kind == "normalize"
    return ModuleChain(transformer_path, pooling, tuple(steps[:-1] if normalize else steps), normalize, include_prompt)


def _parse_pooling(config: Mapping[str, Any], path: str) -> tuple[PoolingType, ...]:
    mode = config.get("pooling_mode")
    if mode is None:
        active = tuple(kind for key, kind in _LEGACY_MODES.items() if config.get(key))
        return active or ("MEAN",)  # sentence-transformers' own default when no mode is on
    names = mode if isinstance(mode, list | tuple) else (mode,)
    if not names or any(str(name) not in _MODES for name in names):
        raise ConfigError(f"{path}/config.json: pooling_mode {mode!r} is unknown; expected: {', '.join(_MODES)}")
    return tuple(_MODES[name] for name in names)


def _parse_step(kind: str, config: Mapping[str, Any], path: str) -> HeadStep:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise ConfigError(f"{path}/config.json: {kind} with {key}={config[key]!r} is not supported")
    if kind == "Normalize":
        return HeadStep(kind="normalize")
    if kind == "LayerNorm":
        size = _size(config, "dimension", kind, path)
        return HeadStep(kind="layer_norm", path=path, in_features=size, out_features=size)
    if config.get("use_residual"):
        raise ConfigError(f"{path}/config.json: Dense with use_residual=true is not supported")
    # sentence-transformers builds Dense with Tanh when the key is absent.
    function = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if function not in DENSE_ACTIVATIONS:
        raise ConfigError(
            f"{path}/config.json: activation_function {function!r} is not supported; "
            f"expected one of: {', '.join(DENSE_ACTIVATIONS)}"
        )
    return HeadStep(
        kind="dense",
        path=path,
        in_features=_size(config, "in_features", kind, path),
        out_features=_size(config, "out_features", kind, path),
        bias=bool(config.get("bias", True)),
        activation=DENSE_ACTIVATIONS[function],
    )


def _size(config: Mapping[str, Any], key: str, kind: str, path: str) -> int:
    value = config.get(key)
    if not isinstance(value, int):
        raise ConfigError(f"{path}/config.json: {kind} needs an integer {key!r}, got {value!r}")
    return value
