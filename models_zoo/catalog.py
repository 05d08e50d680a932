"""Cards of known models: data files in ``cards/``, read into frozen :class:`ModelCard` objects.

A card says what is known of a model without opening its weights: task, pooling, sizes, prompts,
licence. One TOML file a model, named ``<org>__<name>.toml``. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from ..poolers.errors import ConfigError, closest
from .card import ModelCard, WeightsPackage, parse_card

__all__ = ["ModelCard", "WeightsPackage", "card", "cards", "find_card", "parse_card"]


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


@cache
def _by_name() -> Mapping[str, ModelCard]:
    """Cards by lower-case id and alias."""
    return {name.lower(): one for one in cards().values() for name in (one.id, *one.aliases)}


def find_card(model_id: str) -> ModelCard | None:
    """Return the card of one model by id or alias, letter case ignored; ``None`` where there is none."""
    return _by_name().get(model_id.lower())


def card(model_id: str) -> ModelCard:
    """Return the card of one model by id or alias; letter case is ignored.

    Raises:
        ConfigError: no such card; the message carries the nearest id.
    """
    found = find_card(model_id)
    if found is None:
        raise ConfigError(f"no model card for {model_id!r}{closest(model_id, cards())}")
    return found
