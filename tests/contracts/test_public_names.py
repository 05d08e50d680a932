"""`pool_export.__all__` is the whole public surface: complete, sorted, and every name resolves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pool_export

NEEDS_EXPORT_EXTRA = {"export_model"}


def isort_style(name: str) -> tuple[int, str]:
    # CONSTANTS, then Classes, then functions, as ruff's RUF022 sorts `__all__`
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_all_is_sorted_and_unique() -> None:
    assert pool_export.__all__ == sorted(set(pool_export.__all__), key=isort_style)


def test_all_is_what_the_lazy_table_serves() -> None:
    assert set(pool_export.__all__) == {*pool_export._HOMES, "__version__"}


def test_dir_offers_every_public_name() -> None:
    assert set(pool_export.__all__) <= set(dir(pool_export))


@pytest.mark.parametrize("name", sorted(set(pool_export.__all__) - NEEDS_EXPORT_EXTRA))
def test_a_name_resolves_to_the_thing_of_that_name(name: str) -> None:
    value = getattr(pool_export, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__module__ == f"pool_export{pool_export._HOMES[name]}"


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted(NEEDS_EXPORT_EXTRA))
def test_an_export_name_resolves(name: str) -> None:
    assert getattr(pool_export, name).__name__ == name


def test_version_is_the_one_of_pyproject(pyproject: dict) -> None:
    assert pool_export.__version__ == pyproject["project"]["version"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'embed'"):
        pool_export.embed  # noqa: B018 -- the access is what is tested


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(str(pool_export.__file__)).read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: "." + str(node.module)
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == pool_export._HOMES


def test_every_public_error_is_a_pool_export_error() -> None:
    errors = [name for name in pool_export.__all__ if name.endswith(("Error", "Failure"))]
    assert errors
    for name in errors:
        assert issubclass(getattr(pool_export, name), pool_export.PoolExportError)
