"""Judge what bench.py wrote: tables, bars, plots, the generated part of a page. Exits with 1 when a bar is missed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from . import plots, tables
from .bars import Bar, bars


def show(console: Console, title: str, rows: Sequence[tuple[str, ...]]) -> None:
    header, *rest = rows
    table = Table(*header, title=title)
    for row in rest:
        table.add_row(*row)
    console.print(table)


def show_bars(console: Console, asked: Sequence[Bar]) -> None:
    words = {True: "[green]holds[/]", False: "[red]missed[/]", None: "not measured"}
    show(console, "bars", [("bar", "limit", "found", ""), *((b.name, b.limit, b.found, words[b.holds]) for b in asked)])


@click.command()
@click.argument("measured", type=click.Path(exists=True, path_type=Path))
@click.option("--plots", "folder", type=click.Path(path_type=Path), help="Write PNG plots; needs the `bench` extra.")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="Replace the generated part of this page.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep a copy of the measured file here.")
def main(measured: Path, folder: Path | None, page: Path | None, keep: Path | None) -> None:
    """Judge the file that bench.py wrote."""
    result = orjson.loads(measured.read_bytes())
    console = Console(width=None if Console().is_terminal else 200)
    for figures in result["workloads"].values():
        show(console, figures["title"], tables.rows(figures))
        for name, reason in tables.unavailable(figures):
            console.print(f"{name}: {reason}", markup=False, highlight=False)
    asked = bars(result)
    show_bars(console, asked)
    if folder is not None and "natural" in result["workloads"]:
        plots.draw(result["workloads"]["natural"], folder)
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(measured, keep)
    if page is not None:
        page.write_text(tables.replace(page.read_text("utf-8"), tables.page(result)), "utf-8")
    raise SystemExit(1 if any(bar.holds is False for bar in asked) else 0)


if __name__ == "__main__":
    main()
