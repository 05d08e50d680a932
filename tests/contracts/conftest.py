"""What the contract tests share: the source files, the parsed pyproject and the command line's group."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest


@pytest.fixture(scope="session")
def pyproject(checkout: Path) -> Mapping[str, Any]:
    return tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="session")
def package_folders(pyproject: Mapping[str, Any]) -> dict[str, str]:
    """Return import name -> folder below the root ('' for the root itself)."""
    packages = pyproject["tool"]["setuptools"]["packages"]
    return {name: name.removeprefix("pool_export").replace(".", "/").strip("/") for name in packages}


@pytest.fixture(scope="session")
def source_files(checkout: Path, package_folders: Mapping[str, str]) -> list[Path]:
    """Return every Python file that goes into the wheel, relative to the root."""
    return sorted(
        file.relative_to(checkout) for folder in package_folders.values() for file in (checkout / folder).glob("*.py")
    )


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    context = click.Context(group, info_name="pool-export")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{name} is listed but cannot be loaded"
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.fixture(scope="session")
def command_group() -> click.Group:
    """Return the group behind `pool-export`, whether `main` is that group or a function around it."""
    module = importlib.import_module("pool_export.cli.main")
    if isinstance(module.main, click.Group):
        return module.main
    groups = [value for value in vars(module).values() if isinstance(value, click.Group)]
    assert len(groups) == 1, f"expected one click group in pool_export.cli.main, got {groups}"
    return groups[0]


@pytest.fixture(scope="session")
def commands(command_group: click.Group) -> dict[tuple[str, ...], click.Command]:
    """Return words after `pool-export` -> command; the empty tuple is the group itself."""
    return dict(_commands(command_group))
