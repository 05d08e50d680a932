"""What a model card adds to a checkpoint: only what its files do not say, below the user's options.

Pure: files and request in, files and request out, with a line for everything the card said. A card never replaces
what a file says, with one exception that is announced: ``architectures``, where the head a card describes has to be
made from other rows of the checkpoint (rerankers from a language model). It is left out as soon as the user
converts or overrides by hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..models_zoo.card import ModelCard
from ..models_zoo.catalog import card as card_of
from ..models_zoo.catalog import find_card
from ..poolers.architectures import POOLING_KEYS
from ..poolers.conversion import resolve_convert
from ..poolers.errors import ConfigError
from ..poolers.files import CheckpointFiles
from ..poolers.limits import max_length, position_limit
from ..poolers.resolve import resolve
from ..poolers.spec import PoolingSpec
from ..runtime.manifest import CardUse
from .request import ExportRequest
from .source import Source, apply_overrides

NO_CARD = "none"

# Keys of a pooler config that say the same thing; a user who gave one of them has said it.
_SAME: tuple[frozenset[str], ...] = (
    frozenset({"pooling_type", "seq_pooling_type", "tok_pooling_type"}),
    frozenset({"use_activation", "normalize", "activation", "softmax"}),
    frozenset({"logit_mean", "logit_bias"}),
)
# Where a value of the head came from, when no file and no user said it.
_WEAK = ("architecture", "convert_default")
_TOKENIZER_LIMIT = 10**6  # tokenizers without a limit carry int(1e30)


def known_card(request: ExportRequest) -> ModelCard | None:
    """Return the card a request means: the one it names, else the one of its Hub id; ``None`` for ``--card none``.

    Raises:
        ConfigError: it names a card that there is not.
    """
    if request.card is not None:
        return None if request.card == NO_CARD else card_of(request.card)
    return None if Path(request.model).expanduser().is_dir() else find_card(request.model)


def with_card(source: Source, request: ExportRequest, card: ModelCard | None) -> tuple[Source, ExportRequest]:
    """Fill in what the card knows and neither the files nor the user say.

    Returns:
        Files and request to go on with; the source says what the card did.
    """
    if card is None:
        return source, request
    notes: list[str] = []
    filled: dict[str, Any] = {}
    request, config = _override(source.files.config, request, card, filled, notes)
    files = dataclasses.replace(source.files, config=config)
    request = _convert(files, request, card, filled, notes)
    files = _fill_config(files, request, card, filled, notes)
    files = _fill_texts(files, card, filled, notes)
    files = _fill_length(files, card, filled, notes)
    request = _fill_head(files, request, card, filled, notes)
    request = _fill_template(files, request, card, filled)
    licence = source.licence
    if not licence and card.licence != "unknown":
        licence = filled["licence"] = card.licence
    use = CardUse(id=card.id, filled=filled, notes=tuple(notes), hazards=card.hazards)
    return dataclasses.replace(source, files=files, licence=licence, card=use), request


def _fill_template(
    files: CheckpointFiles, request: ExportRequest, card: ModelCard, filled: dict[str, Any]
) -> ExportRequest:
    """The score template, where the head is the one it was written for."""
    if card.score_template is None or request.score_template or files.architecture != card.exported_architecture:
        return request
    filled["score_template"] = card.score_template
    return dataclasses.replace(request, score_template=card.score_template)


def mark_sources(spec: PoolingSpec, use: CardUse | None) -> PoolingSpec:
    """Name the card as the source of the fields it filled."""
    names = {"pooling_type": "pooling", **{name: name for name in spec.sources}}
    filled = {names[name] for name in (use.filled if use else ()) if name in names}
    return dataclasses.replace(spec, sources={**spec.sources, **dict.fromkeys(filled & spec.sources.keys(), "card")})


def lines(use: CardUse | None) -> list[str]:
    """Tell in one line each what the card filled in and what it was not allowed to."""
    if use is None:
        return []
    said = ", ".join(f"{name} = {_shown(value)}" for name, value in use.filled.items())
    return [f"card {use.id}: {said or 'adds nothing to the files'}", *(f"card {use.id}: {note}" for note in use.notes)]


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, Mapping) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _override(
    config: Mapping[str, Any], request: ExportRequest, card: ModelCard, filled: dict[str, Any], notes: list[str]
) -> tuple[ExportRequest, Mapping[str, Any]]:
    """Apply ``hf_overrides`` as a whole, unless the user converts or overrides by hand."""
    overrides = dict(card.hf_overrides)
    if not overrides:
        return request, config
    if request.convert != "auto" or request.runner != "auto" or request.hf_overrides:
        notes.append(f"its overrides ({', '.join(overrides)}) are left out, because you chose the conversion yourself")
        return request, config
    for key in [key for key in overrides if key != "architectures" and config.get(key) is not None]:
        if config[key] != overrides[key]:
            notes.append(f"says {key} = {overrides[key]}, config.json says {config[key]}: the file is kept")
        del overrides[key]
    if overrides.get("architectures") == config.get("architectures"):
        del overrides["architectures"]
    elif "architectures" in overrides:
        stated = (config.get("architectures") or ["nothing"])[0]
        notes.append(f"config.json says {stated}, exported as {overrides['architectures'][0]} (undo: --card none)")
    filled.update(overrides)
    merged = apply_overrides(config, overrides)
    return dataclasses.replace(request, hf_overrides=overrides or None), merged


def _convert(
    files: CheckpointFiles, request: ExportRequest, card: ModelCard, filled: dict[str, Any], notes: list[str]
) -> ExportRequest:
    if request.convert != "auto" or request.runner != "auto":
        return request
    try:
        stated = resolve_convert(files)
    except ConfigError:
        filled["convert"] = card.convert
        return dataclasses.replace(request, convert=card.convert)
    if stated != card.convert:
        notes.append(f"says convert = {card.convert}, the files make it {stated}: kept (change it with --convert)")
    return request


def _fill_config(
    files: CheckpointFiles, request: ExportRequest, card: ModelCard, filled: dict[str, Any], notes: list[str]
) -> CheckpointFiles:
    """Matryoshka sizes; a config that speaks of them at all is left alone."""
    sizes = card.matryoshka if isinstance(card.matryoshka, str) else list(card.matryoshka)
    if not sizes or resolve_convert(files, convert=request.convert, runner=request.runner) != "embed":  # type: ignore[arg-type]
        return files
    stated = files.config.get("matryoshka_dimensions")
    if stated is not None or files.config.get("is_matryoshka") is not None:
        if stated and sizes != "any" and sorted(stated) != sorted(sizes):
            notes.append(f"says matryoshka sizes {sizes}, the files say {stated}: the files are kept")
        return files
    value: dict[str, Any] = {"is_matryoshka": True} if sizes == "any" else {"matryoshka_dimensions": sizes}
    filled.update(value)
    return dataclasses.replace(files, config={**files.config, **value})


def _fill_texts(files: CheckpointFiles, card: ModelCard, filled: dict[str, Any], notes: list[str]) -> CheckpointFiles:
    """Prompts and similarity. sentence-transformers writes empty texts and nulls where nobody said anything."""
    texts = dict(files.st_config)
    stated = {str(name): str(text) for name, text in (texts.get("prompts") or {}).items()}
    for name, text in card.prompts.items():
        if stated.get(name) and stated[name] != text:
            notes.append(f"says prompt {name} = {text!r}, the files say {stated[name]!r}: the files are kept")
    missing = {name: text for name, text in card.prompts.items() if text and not stated.get(name)}
    if missing:
        filled["prompts"] = missing
        texts["prompts"] = {**stated, **missing}
    # A default goes with the prompts: files that have their own prompts have chosen.
    if card.default_prompt_name in missing and not texts.get("default_prompt_name"):
        texts["default_prompt_name"] = filled["default_prompt_name"] = card.default_prompt_name
    if card.similarity is not None:
        if not texts.get("similarity_fn_name"):
            # "maxsim" is how many vectors are compared, no function of two.
            if card.similarity not in ("cosine", "maxsim"):
                filled["similarity"] = card.similarity
                texts["similarity_fn_name"] = card.similarity
        elif str(texts["similarity_fn_name"]).lower() != card.similarity:
            notes.append(
                f"says similarity = {card.similarity}, the files say {texts['similarity_fn_name']}: the files are kept"
            )
    return dataclasses.replace(files, st_config=texts)


def _fill_length(files: CheckpointFiles, card: ModelCard, filled: dict[str, Any], notes: list[str]) -> CheckpointFiles:
    tokenizer = files.tokenizer_config.get("model_max_length")
    is_stated = isinstance(tokenizer, int | float) and 0 < tokenizer < _TOKENIZER_LIMIT
    if is_stated or files.transformer_config.get("max_seq_length"):
        if (stated := max_length(files)) != card.max_length:
            notes.append(f"says {card.max_length} tokens at most, the files say {stated}: the files are kept")
        return files
    if card.max_length >= position_limit(files.config):
        return files
    filled["max_length"] = card.max_length
    return dataclasses.replace(
        files, transformer_config={**files.transformer_config, "max_seq_length": card.max_length}
    )


def _fill_head(
    files: CheckpointFiles, request: ExportRequest, card: ModelCard, filled: dict[str, Any], notes: list[str]
) -> ExportRequest:
    """Settings of the pooler that only a family's rule or a conversion's default would choose."""
    spec = resolve(files, convert=request.convert, runner=request.runner, pooler_config=request.user_pooler())  # type: ignore[arg-type]
    if spec.convert != card.convert:
        return request
    given = dict(request.pooler_config or {})
    wanted: dict[str, Any] = {"pooling_type": card.pooling_type, **card.pooler_config}
    if spec.convert == "embed" and card.normalize is not None:
        wanted["use_activation"] = card.normalize
    for key, value in wanted.items():
        same = next((group for group in _SAME if key in group), frozenset({key}))
        if value is None or same & given.keys():
            continue
        name, present = _present(spec, key)
        if present == value:
            continue
        if spec.sources.get(name, "convert_default") in _WEAK and not _is_stated(files, spec, name):
            given[key] = filled[key] = value
        else:
            notes.append(f"says {key} = {value}, the files say {present}: the files are kept")
    if card.embedding_size and spec.embedding_size and spec.embedding_size != card.embedding_size:
        notes.append(f"says vectors of {card.embedding_size} numbers, this checkpoint gives {spec.embedding_size}")
    return dataclasses.replace(request, pooler_config=given or None)


def _present(spec: PoolingSpec, key: str) -> tuple[str, Any]:
    """The field of a head that a pooler-config key sets, and its value now."""
    if key == "pooling_type":
        return "pooling", " + ".join(spec.pooling)
    return key, getattr(spec, key, None)


def _is_stated(files: CheckpointFiles, spec: PoolingSpec, name: str) -> bool:
    """Whether ``config.json`` itself names the pooling type (`resolve` counts it as the architecture's)."""
    key = "classifier_pooling" if spec.convert == "classify" else ""
    return name == "pooling" and bool(files.config.get(POOLING_KEYS.get(files.architecture, key)))
