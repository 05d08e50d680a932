"""What one model card says: the fields, their closed vocabularies, and the check of a TOML file.

Standard library only. ``catalog`` reads the package's own cards with it.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from ..poolers.errors import ConfigError, closest
from ..poolers.spec import CONVERTS, POOLING_TYPES, TASKS, Convert, PoolingType, Task
from .templates import SCORE_TEMPLATES, ScoreTemplateName

# How a model can be exported: by transformers' own classes, only with the code of its repository, or not at all.
ExportStatus = Literal["native", "remote-code", "unsupported"]
EXPORT_STATUSES: tuple[ExportStatus, ...] = get_args(ExportStatus)

Similarity = Literal["cosine", "dot", "euclidean", "manhattan", "maxsim"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)


# What a user should know before trusting the numbers; name -> meaning.
HAZARDS: dict[str, str] = {
    "eos_required": "it pools the end token, so the tokenizer must append one to every text",
    "fp16_overflow": "activations leave the range of float16: use float32 or bfloat16",
    "gated": "the Hub asks to accept terms first: log in and set HF_TOKEN",
    "long_context_rope": "texts beyond the length it was trained on need scaled rotary positions",
    "noncommercial": "the licence does not allow commercial use",
    "prompt_required": "texts need one of the prompts: without it the vectors are worse",
    "task_adapters": "its tasks are LoRA adapters: a graph holds one choice of weights",
    "template_required": "a query and a document must go through the score template",
}


@dataclass(frozen=True, kw_only=True)
class WeightsPackage:
    """A Python package that carries a model's files.

    Attributes:
        name: the distribution to install.
        folder: where the checkpoint lies, import package first (``import_name/sub/folder``).
    """

    name: str
    folder: str

    def find(self) -> Path | None:
        """Return the checkpoint's folder, or ``None`` when the package is not installed."""
        top, _, inside = self.folder.partition("/")
        found = importlib.util.find_spec(top)
        for location in (found and found.submodule_search_locations) or ():
            folder = Path(location) / inside
            if (folder / "config.json").is_file():
                return folder
        return None


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the zoo knows about one model. What is not known for certain is left out.

    Attributes:
        id: the model's name on the Hub, ``org/name``.
        aliases: other names of the same repository (the Hub redirects renamed ones).
        task: the task the model is mostly used for.
        convert: the conversion an export of it asks for.
        architecture: the class name in its ``config.json``.
        model_type: the ``model_type`` in its ``config.json``.
        export: how it can be exported here; ``export_reason`` says why not natively.
        pooling_type: how token vectors become one (``None`` for heads that pool by themselves).
        normalize: whether vectors leave with unit length (``None``: not known, or no vectors).
        embedding_size: width of the vector (``None`` for classifiers).
        matryoshka: sizes a vector may be cut to; ``"any"`` where the authors name none.
        num_labels: width of a classifier's or reward head's answer.
        max_length: tokens the model was meant to read at most.
        parameters: number of weights, in millions.
        prompts: prompt texts by name.
        default_prompt_name: the prompt the authors apply when none is named.
        similarity: how two vectors are compared.
        score_template: name of the template a reranker's pairs go through.
        hf_overrides: keys of ``config.json`` to set; ``architectures`` replaces what the file says.
        pooler_config: further settings of the head, as ``--pooler-config`` takes them.
        languages: ISO 639-1 codes; ``("multilingual",)`` where there are too many to list.
        licence: SPDX identifier of the weights' licence; ``LicenseRef-…`` for its own terms, ``unknown`` if none is
            stated.
        hazards: names of ``HAZARDS``.
        revision: pinned commit of the repository.
        package: a Python package that carries the weights.
        notes: anything else a reader should know.
    """

    id: str
    task: Task
    convert: Convert
    architecture: str
    model_type: str
    max_length: int
    licence: str
    languages: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    export: ExportStatus = "native"
    export_reason: str = ""
    pooling_type: PoolingType | None = None
    normalize: bool | None = None
    embedding_size: int | None = None
    matryoshka: tuple[int, ...] | Literal["any"] = ()
    num_labels: int | None = None
    parameters: float | None = None
    prompts: Mapping[str, str] = field(default_factory=_empty)
    default_prompt_name: str | None = None
    similarity: Similarity | None = None
    score_template: ScoreTemplateName | None = None
    hf_overrides: Mapping[str, Any] = field(default_factory=_empty)
    pooler_config: Mapping[str, Any] = field(default_factory=_empty)
    hazards: tuple[str, ...] = ()
    revision: str | None = None
    package: WeightsPackage | None = None
    notes: str = ""

    @property
    def exported_architecture(self) -> str:
        """The class the export reads it as: the card's override, else the file's own."""
        names = self.hf_overrides.get("architectures") or [self.architecture]
        return str(names[0])


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value.count("/") == 1 and all(part.strip() for part in value.split("/"))


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _list_of(accepts: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(accepts(item) for item in value)


def _text_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _one_of(names: tuple[str, ...]) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names


_POSITIVE: tuple[str, Callable[[Any], bool]] = ("a positive integer", _positive)

# Field name -> (what the value must be, in words; the check).
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "id": ("`org/name`", _is_id),
    "aliases": ("a non-empty list of `org/name`", _list_of(_is_id)),
    "task": _one_of(TASKS),
    "convert": _one_of(CONVERTS),
    "architecture": ("a class name", lambda value: _text(value) and value.isidentifier()),
    "model_type": ("a text", _text),
    "export": _one_of(EXPORT_STATUSES),
    "export_reason": ("a text", _text),
    "pooling_type": _one_of(POOLING_TYPES),
    "normalize": ("true or false", lambda value: isinstance(value, bool)),
    "embedding_size": _POSITIVE,
    "matryoshka": ('a list of sizes or "any"', lambda value: value == "any" or _list_of(_positive)(value)),
    "num_labels": _POSITIVE,
    "max_length": _POSITIVE,
    "parameters": ("millions, above 0", lambda value: type(value) in (int, float) and value > 0),
    "prompts": ("a table of texts", _text_table),
    "default_prompt_name": ("a text", _text),
    "similarity": _one_of(SIMILARITIES),
    "score_template": _one_of(SCORE_TEMPLATES),
    "hf_overrides": ("a table", _is_table),
    "pooler_config": ("a table", _is_table),
    "languages": ("a non-empty list of texts", _list_of(_text)),
    "licence": ("an SPDX identifier", _text),
    "hazards": (f"a list of {', '.join(HAZARDS)}", _list_of(lambda value: value in HAZARDS)),
    "revision": ("a text", _text),
    "package": (
        "a table with `name` and `folder`",
        lambda value: _text_table(value) and set(value) == {"name", "folder"},
    ),
    "notes": ("a text", lambda value: isinstance(value, str)),
}


def _frozen(table: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(table))


_BUILDERS: dict[str, Callable[[Any], Any]] = {
    "aliases": tuple,
    "languages": tuple,
    "hazards": tuple,
    "matryoshka": lambda value: value if value == "any" else tuple(value),
    "prompts": _frozen,
    "hf_overrides": _frozen,
    "pooler_config": _frozen,
    "package": lambda table: WeightsPackage(**table),
}


def parse_card(text: str, *, file_name: str) -> ModelCard:
    """Read one card; ``file_name`` must be the card's id with ``__`` for ``/``.

    Raises:
        ConfigError: not TOML, an unknown or missing key, a value out of range, fields that contradict each other, or a
            wrong file name.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"model card {file_name}: not valid TOML: {error}") from error
    for key, value in values.items():
        if key not in _CHECKS:
            raise ConfigError(f"model card {file_name}: unknown key {key!r}{closest(key, _CHECKS)}")
        expected, accepts = _CHECKS[key]
        if not accepts(value):
            raise ConfigError(f"model card {file_name}: `{key}` must be {expected}, got {value!r}")
    missing = [
        item.name
        for item in fields(ModelCard)
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"model card {file_name}: missing {', '.join(f'`{name}`' for name in missing)}")
    expected_name = values["id"].replace("/", "__") + ".toml"
    if file_name != expected_name:
        raise ConfigError(f"model card {file_name}: a card for {values['id']!r} must be called {expected_name}")
    card = ModelCard(**{key: _BUILDERS.get(key, lambda same: same)(value) for key, value in values.items()})
    if problem := _contradiction(card):
        raise ConfigError(f"model card {file_name}: {problem}")
    return card


def _contradiction(card: ModelCard) -> str | None:
    """What two fields cannot say at once."""
    rules: tuple[tuple[bool, str], ...] = (
        (
            (card.export == "native") == bool(card.export_reason),
            f"`export_reason` goes with remote-code and unsupported, got export={card.export!r}",
        ),
        (
            card.default_prompt_name is not None and card.default_prompt_name not in card.prompts,
            f"`default_prompt_name` {card.default_prompt_name!r} is not among the prompts {list(card.prompts)}",
        ),
        ("prompt_required" in card.hazards and not card.prompts, "hazard prompt_required, and no prompts"),
        (
            ("template_required" in card.hazards) != (card.score_template is not None),
            "`score_template` and the hazard template_required go together",
        ),
        (
            card.convert != "embed" and bool(card.embedding_size or card.matryoshka),
            f"`embedding_size` and `matryoshka` are of embedders, got convert={card.convert!r}",
        ),
        (
            isinstance(card.matryoshka, tuple) and max(card.matryoshka, default=0) > (card.embedding_size or 10**9),
            f"`matryoshka` sizes {card.matryoshka} exceed `embedding_size` {card.embedding_size}",
        ),
    )
    return next((words for broken, words in rules if broken), None)
