"""Cards of known models: data files in ``cards/``, read into frozen :class:`ModelCard` objects.

A card says what is known of a model without opening its weights: task, pooling, sizes, prompts,
licence. One TOML file a model, named ``<org>__<name>.toml``. Standard library only.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..poolers.errors import ConfigError, closest
from ..poolers.spec import CONVERTS, POOLING_TYPES, TASKS, Convert, PoolingType, Task


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


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the zoo knows about one model.

    Attributes:
        id: the model's name on the Hub, ``org/name``.
        task: the task the model is mostly used for.
        convert: the conversion an export of it asks for.
        architecture: the class name in its ``config.json``.
        pooling_type: how token vectors become one (``None`` for heads that pool by themselves).
        normalize: whether vectors leave with unit length.
        embedding_size: width of the vector (``None`` for classifiers).
        max_length: tokens the model was meant to read at most.
        prompts: prompt texts by name.
        languages: ISO 639-1 codes; ``("multilingual",)`` where there are too many to list.
        licence: SPDX identifier of the weights' licence.
        revision: pinned commit of the repository.
        package: a Python package that carries the weights.
        notes: anything else a reader should know.
    """

    id: str
    task: Task
    convert: Convert
    architecture: str
    max_length: int
    licence: str
    languages: tuple[str, ...]
    pooling_type: PoolingType | None = None
    normalize: bool = False
    embedding_size: int | None = None
    prompts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    revision: str | None = None
    package: WeightsPackage | None = None
    notes: str = ""


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_text(item) for item in value)


def _text_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _one_of(names: tuple[str, ...]) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names


# Field name -> (what the value must be, in words; the check).
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "id": ("`org/name`", lambda value: _text(value) and value.count("/") == 1 and all(value.split("/"))),
    "task": _one_of(TASKS),
    "convert": _one_of(CONVERTS),
    "architecture": ("a class name", lambda value: _text(value) and value.isidentifier()),
    "pooling_type": _one_of(POOLING_TYPES),
    "normalize": ("true or false", lambda value: isinstance(value, bool)),
    "embedding_size": ("a positive integer", _positive),
    "max_length": ("a positive integer", _positive),
    "prompts": ("a table of texts", _text_table),
    "languages": ("a non-empty list of texts", _texts),
    "licence": ("an SPDX identifier", _text),
    "revision": ("a text", _text),
    "package": (
        "a table with `name` and `folder`",
        lambda value: _text_table(value) and set(value) == {"name", "folder"},
    ),
    "notes": ("a text", lambda value: isinstance(value, str)),
}

_BUILDERS: dict[str, Callable[[Any], Any]] = {
    "languages": tuple,
    "prompts": lambda table: MappingProxyType(dict(table)),
    "package": lambda table: WeightsPackage(**table),
}


def parse_card(text: str, *, file_name: str) -> ModelCard:
    """Read one card; ``file_name`` must be the card's id with ``__`` for ``/``.

    Raises:
        ConfigError: not TOML, an unknown or missing key, a value out of range, or a wrong file name.
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
    return ModelCard(**{key: _BUILDERS.get(key, lambda same: same)(value) for key, value in values.items()})


@cache
def cards() -> Mapping[str, ModelCard]:
    """Return every card by model id, in alphabetical order.

    Raises:
        ConfigError: a card in the package is invalid.
    """
    folder = resources.files(__package__) / "cards"
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name)
    read = (parse_card(item.read_text(encoding="utf-8"), file_name=item.name) for item in files)
    return MappingProxyType({one.id: one for one in sorted(read, key=lambda one: one.id.lower())})


def card(model_id: str) -> ModelCard:
    """Return the card of one model; letter case is ignored.

    Raises:
        ConfigError: no such card; the message carries the nearest id.
    """
    by_lower = {name.lower(): found for name, found in cards().items()}
    if model_id.lower() in by_lower:
        return by_lower[model_id.lower()]
    raise ConfigError(f"no model card for {model_id!r}{closest(model_id, cards())}")
