"""The tables of docs/serving.md are made from the server's declarations; `make docs` rewrites them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.options import env_name, flag_name, option_fields
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.problems import INTERNAL, TABLE
from pool_export.runtime.server.routes import ROUTES


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def routes() -> str:
    rows = [
        (", ".join(f"`{route.method} {path}`" for path in route.paths), route.summary, "yes" if route.computes else "")
        for route in ROUTES
    ]
    return table(("route", "what it does", "asks for the key"), rows)


def options() -> str:
    rows = [
        (
            f"`{flag_name(item, info)}`",
            f"`{env_name(item.name)}`",
            "" if item.default in (None, False) else f"`{item.default}`",
            info.help,
        )
        for config in (ServerConfig, RuntimeConfig)
        for item, info in option_fields(config)
    ]
    return table(("flag", "variable", "default", "what it is for"), rows)


def meaning(error: type[BaseException]) -> str:
    return (inspect.getdoc(error) or "").split("\n")[0].replace("``", "`")


def errors() -> str:
    rows = [(f"{problem.status}", f"`{problem.type}`", f"`{problem.kind}`", meaning(kind)) for kind, problem in TABLE]
    rows.append(
        (f"{INTERNAL.status}", f"`{INTERNAL.type}`", f"`{INTERNAL.kind}`", "Anything else; the log has the cause.")
    )
    return table(("status", "`type`", "TEI's `error_type`", "when"), sorted(rows, key=lambda row: int(row[0])))


TABLES: dict[str, Callable[[], str]] = {"routes": routes, "options": options, "errors": errors}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_fresh(name: str, checkout: Path, request: pytest.FixtureRequest) -> None:
    page = checkout / "docs" / "serving.md"
    start, end = f"<!-- {name}: made by `make docs` -->\n", "<!-- end -->"
    pattern = re.compile(re.escape(start) + "(.*?)" + re.escape(end), re.DOTALL)
    if request.config.getoption("--update-help"):
        page.write_text(pattern.sub(lambda _: f"{start}{TABLES[name]()}\n{end}", page.read_text("utf-8")), "utf-8")
    found = pattern.search(page.read_text("utf-8"))
    assert found is not None, f"docs/serving.md has lost its {name} marker"
    assert found[1] == TABLES[name]() + "\n", "run `make docs`"


def test_every_route_has_an_example_or_is_named(checkout: Path) -> None:
    text = (checkout / "docs" / "serving.md").read_text("utf-8")
    prose = text.split("<!-- end -->", 1)[1]
    families = {route.paths[0] for route in ROUTES if route.computes and route.tag != "TEI"}
    assert {path for path in families if not re.search(re.escape(path) + r"\b", prose)} == set()
