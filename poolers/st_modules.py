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
from .parts import HeadStep
from .spec import PoolingType
from .st_activations import ACROSS_FEATURES, parse_activation

# What a module works on: names of sentence-transformers' feature dictionary.
TOKENS, VECTOR, SCORES = "token_embeddings", "sentence_embedding", "scores"

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

SUPPORTED_MODULES: tuple[str, ...] = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")


@dataclass(frozen=True)
class ModuleChain:
    """What a sentence-transformers checkpoint says about its head.

    Attributes:
        transformer_path: folder of the transformer, empty for the root.
        pooling: what Pooling concatenates; ``None`` without such a module (cross-encoders, ColBERT).
        steps: the modules after it (after the transformer without it), the final Normalize excepted.
        normalize: whether Normalize comes last.
        token_steps: the modules between the transformer and Pooling.
        scores: whether the chain answers scores, as a cross-encoder does, and not a vector.
        include_prompt: whether Pooling counts the tokens of a prompt.
    """

    transformer_path: str
    pooling: tuple[PoolingType, ...] | None
    steps: tuple[HeadStep, ...]
    normalize: bool
    token_steps: tuple[HeadStep, ...] = ()
    scores: bool = False
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


def answers_scores(modules: Sequence[Mapping[str, Any]] | None, configs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether ``modules.json`` ends in a Dense that gives scores: the head of a modular cross-encoder."""
    dense = [entry for entry in modules or () if module_kind(entry) == "Dense"]
    return bool(dense) and configs.get(str(dense[-1].get("path")), {}).get("module_output_name") == SCORES


def parse_chain(modules: Sequence[Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]]) -> ModuleChain:
    """Read the module chain: each module has to work on what the one before it gives.

    Args:
        modules: the parsed ``modules.json``.
        configs: module folder -> its parsed ``config.json``.

    Raises:
        ConfigError: a module, an order, or a setting the graph cannot represent.
    """
    transformer_path, value = "", TOKENS
    # Without Pooling every token is an answer, and old files name no input (PyLate's Dense never does).
    unnamed = VECTOR if has_pooling(modules) else TOKENS
    pooling: tuple[PoolingType, ...] | None = None
    include_prompt = True
    before: list[HeadStep] = []
    steps: list[HeadStep] = []
    for position, entry in enumerate(modules):
        path, kind = str(entry.get("path", "")), module_kind(entry)
        config = configs.get(path, {})
        _require_place(position, entry)
        if kind == "Transformer":
            transformer_path = path
        elif kind == "Pooling":
            if pooling is not None or value != TOKENS:
                raise ConfigError(f"modules.json entry {position}: Pooling must come once, and work on {TOKENS}")
            pooling, value = _parse_pooling(config, path), VECTOR
            include_prompt = bool(config.get("include_prompt", True))
            before, steps = steps, []
        elif kind != "Dropout":  # dropout does nothing at inference
            steps.append(_parse_step(kind, config, path, per_token=pooling is None))
            value = _follow(kind, config, path, value, unnamed)
    _require_end(value, pooling)
    scores = value == SCORES
    normalize = bool(steps) and steps[-1].kind == "normalize" and not scores
    return ModuleChain(
        transformer_path=transformer_path,
        pooling=pooling,
        steps=tuple(steps[:-1] if normalize else steps),
        normalize=normalize,
        token_steps=tuple(before),
        scores=scores,
        include_prompt=include_prompt,
    )


def require_output(config: Mapping[str, Any], output: str = "last_hidden_state") -> None:
    """Refuse a Transformer module that gives something else than one output of plain text.

    Args:
        config: ``sentence_bert_config.json``; before 5.4 it says nothing about this.
        output: the model's output that the chain goes on with.

    Raises:
        ConfigError: another method or output of the model, texts rendered as chat messages, or a tokenizer that is
            called with other settings than usual.
    """
    stated = config.get("modality_config") or {}
    if "message" in stated:
        raise ConfigError(
            "sentence_bert_config.json: modality_config has 'message', so texts are rendered by the chat template "
            "first, which is not supported; expected 'text' alone"
        )
    settings = config.get("processing_kwargs") or {}
    changed = {key: settings[key] for key in ("common", "text") if settings.get(key)}
    if changed:
        raise ConfigError(f"sentence_bert_config.json: processing_kwargs {changed} are not supported; expected none")
    text = stated.get("text", {})
    found = (text.get("method", "forward"), text.get("method_output_name", output))
    if found != ("forward", output):
        raise ConfigError(
            f"sentence_bert_config.json: modality_config takes {found[1]!r} of {found[0]!r} for texts, which is not "
            f"supported; expected {output!r} of 'forward'"
        )


def _require_place(position: int, entry: Mapping[str, Any]) -> None:
    if not is_supported(entry):
        raise ConfigError(
            f"modules.json entry {position} is {entry.get('type')!r}, which cannot be put in the graph; "
            f"supported sentence-transformers modules: {', '.join(SUPPORTED_MODULES)}"
        )
    kind = module_kind(entry)
    if (kind == "Transformer") != (position == 0):
        raise ConfigError(f"modules.json entry {position} is {kind}; expected one Transformer, in first place")


def _follow(kind: str, config: Mapping[str, Any], path: str, value: str, unnamed: str) -> str:
    """Return the name of a module's result.

    Raises:
        ConfigError: the module reads something else than the result of the one before it.
    """
    reads = config.get("module_input_name") or unnamed
    if reads != value:
        raise ConfigError(
            f"{path}/config.json: {kind} works on {reads!r} and the module before it gives {value!r}; "
            "expected each module to work on the result of the one before"
        )
    return str(config.get("module_output_name") or reads)


def _require_end(value: str, pooling: tuple[PoolingType, ...] | None) -> None:
    expected = (TOKENS,) if pooling is None else (VECTOR, SCORES)
    if value not in expected:
        raise ConfigError(
            f"modules.json: the last module gives {value!r}; expected {' or '.join(map(repr, expected))} "
            f"{'without' if pooling is None else 'with'} a Pooling module"
        )


def _parse_pooling(config: Mapping[str, Any], path: str) -> tuple[PoolingType, ...]:
    mode = config.get("pooling_mode")
    if mode is None:
        active = tuple(kind for key, kind in _LEGACY_MODES.items() if config.get(key))
        return active or ("MEAN",)  # sentence-transformers' own default when no mode is on
    names = mode if isinstance(mode, list | tuple) else (mode,)
    if not names or any(str(name) not in _MODES for name in names):
        raise ConfigError(f"{path}/config.json: pooling_mode {mode!r} is unknown; expected: {', '.join(_MODES)}")
    return tuple(_MODES[name] for name in names)


def _parse_step(kind: str, config: Mapping[str, Any], path: str, *, per_token: bool) -> HeadStep:
    if kind == "Normalize":
        return HeadStep(kind="normalize")
    if kind == "LayerNorm":
        size = _size(config, "dimension", kind, path)
        return HeadStep(kind="layer_norm", path=path, in_features=size, out_features=size)
    # sentence-transformers builds Dense with Tanh when the key is absent.
    function = parse_activation(
        config.get("activation_function", "torch.nn.modules.activation.Tanh"), f"{path}/config.json"
    )
    if per_token and function in ACROSS_FEATURES:
        raise ConfigError(f"{path}/config.json: {function} on {TOKENS} runs across the texts of a batch")
    return HeadStep(
        kind="dense",
        path=path,
        in_features=_size(config, "in_features", kind, path),
        out_features=_size(config, "out_features", kind, path),
        bias=bool(config.get("bias", True)),
        activation=function,
        residual=bool(config.get("use_residual")),
    )


def _size(config: Mapping[str, Any], key: str, kind: str, path: str) -> int:
    value = config.get(key)
    if not isinstance(value, int):
        raise ConfigError(f"{path}/config.json: {kind} needs an integer {key!r}, got {value!r}")
    return value
