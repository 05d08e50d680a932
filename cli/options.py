"""Click options made from declared dataclass fields, and the options every command has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field
from typing import Any, TypeVar

import click

from ..runtime.options import OptionInfo, env_name, flag_name, option_fields

Command = TypeVar("Command", bound=Callable[..., Any])


class _Parsed(click.ParamType[Any]):
    """A value read by the field's own parser."""

    def __init__(self, info: OptionInfo) -> None:
        self.info = info
        self.name = info.metavar or "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a text value; a failure is a usage error."""
        if not isinstance(value, str):
            return value
        try:
            return self.info.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def declared(cls: type, *, env: bool, without: frozenset[str] = frozenset()) -> Callable[[Command], Command]:
    """Add one click option a declared field; unset options arrive as ``None``.

    Args:
        cls: a dataclass whose fields were made with ``runtime.options.option``.
        env: name the environment variable in the help.
        without: fields that make no sense for this command.
    """

    def decorate(command: Command) -> Command:
        for item, info in reversed(option_fields(cls)):
            if item.name in without:
                continue
            command = _click_option(item, info, env)(command)
        return command

    return decorate


def _click_option(item: Field[Any], info: OptionInfo, env: bool) -> Callable[[Command], Command]:
    default = ",".join(item.default) if isinstance(item.default, tuple) else item.default
    notes = [] if default in (None, "") or default is False else [f"default: {default}"]
    if env:
        notes.append(f"env: {env_name(item.name)}")
    text = info.help + (f"  [{', '.join(notes)}]" if notes else "")
    flag = flag_name(item, info)
    if isinstance(item.default, bool):
        return click.option(flag, item.name, is_flag=True, default=None, help=text)
    kind: click.ParamType[Any] = click.Choice(info.choices) if info.choices else _Parsed(info)
    return click.option(flag, item.name, type=kind, default=None, metavar=info.metavar, help=text)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Drop the options that were not given."""
    return {name: value for name, value in values.items() if value is not None}


def debug_option(command: Command) -> Command:
    """Add ``--debug``: full tracebacks and the exporter libraries' own messages."""

    def switch(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            import logging

            from ..export.quiet import set_debug

            logging.basicConfig(level=logging.INFO)
            set_debug(True)

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=switch,
        help="Show tracebacks and the libraries' own messages.",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``: one machine-readable document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)
