"""One declaration per option: a dataclass field is the default, the flag, the variable and the help."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from .errors import InputError

T = TypeVar("T")

ENV_PREFIX = "POOL_EXPORT_"

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]i?)?B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_size(text: str) -> int:
    """Read a number of bytes: ``8388608``, ``8MiB``, ``2G``.

    Raises:
        ValueError: anything else.
    """
    if not (found := _SIZE.fullmatch(text.strip())):
        raise ValueError(f"expected a size such as 8388608, 8MiB or 2G, got {text!r}")
    return int(float(found[1]) * _UNITS[(found[2] or "").lower()])


@dataclass(frozen=True)
class OptionInfo:
    """What a field needs besides its default: help, valid values, and how to read text."""

    help: str
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] = str
    metavar: str | None = None
    flag: str | None = None


def option(
    default: T,
    *,
    help: str,
    choices: tuple[str, ...] = (),
    parse: Callable[[str], Any] = str,
    metavar: str | None = None,
    flag: str | None = None,
) -> T:
    """Declare a field that is also a command-line flag and an environment variable."""
    info = OptionInfo(help, choices, parse, metavar, flag)
    return field(default=default, metadata={"option": info})


def option_fields(cls: type) -> list[tuple[Field[Any], OptionInfo]]:
    """The declared options of a dataclass, in order."""
    return [(item, item.metadata["option"]) for item in fields(cls) if "option" in item.metadata]


def env_name(field_name: str) -> str:
    """Environment variable of a field."""
    return ENV_PREFIX + field_name.upper()


def flag_name(item: Field[Any], info: OptionInfo) -> str:
    """Command-line flag of a field."""
    return info.flag or "--" + item.name.replace("_", "-")


def from_env(cls: type[T], **explicit: Any) -> T:
    """Build a dataclass from explicit values, then the environment, then defaults.

    Args:
        cls: a dataclass whose fields were made with ``option``.
        explicit: values given in code or on the command line; ``None`` means "not given".

    Raises:
        InputError: a value that cannot be read, or is not one of the choices.
    """
    values: dict[str, Any] = {name: value for name, value in explicit.items() if value is not None}
    for item, info in option_fields(cls):
        origin = item.name
        if item.name not in values and (text := os.environ.get(env_name(item.name))):
            origin = env_name(item.name)
            values[item.name] = _read(text, info, origin)
        if item.name in values and info.choices and values[item.name] not in info.choices:
            raise InputError(f"{origin} must be one of {', '.join(info.choices)}, got {values[item.name]!r}")
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    required = {item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING}  # type: ignore[arg-type]
    missing = sorted(required - set(values))
    if missing or set(values) - known:
        raise InputError(f"options: missing {missing}, unknown {sorted(set(values) - known)}")
    return cls(**values)


def _read(text: str, info: OptionInfo, origin: str) -> Any:
    try:
        return info.parse(text)
    except ValueError as error:
        raise InputError(f"{origin}={text!r} cannot be read: {error}") from error
