"""Printing: data on stdout, words for people on stderr, tables through rich."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click
import msgspec


def print_json(value: Any) -> None:
    """Print one indented JSON document on stdout."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        # Text, not markup: a model's label may well contain brackets.
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(soft_wrap=False).print(table)


def note(message: str) -> None:
    """Say something to the person at the terminal (stderr)."""
    click.echo(message, err=True)


class StepReporter:
    """Shows the steps of a long operation on stderr: a spinner or bar on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        """Open the console; it keeps today's stderr while the exporter's noise is redirected."""
        from rich.console import Console

        self._console = Console(file=sys.stderr)

    @contextlib.contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Callable[[int], object] | None]:
        """Show one step; the yielded callable advances it when ``total`` is known."""
        if not self._console.is_terminal:
            self._console.print(f"{title} …", highlight=False, markup=False)
            yield None
            return
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        counted = (BarColumn(bar_width=24), MofNCompleteColumn()) if total else ()
        columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), *counted, TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(escape(title), total=total or 1)
            yield (lambda amount: progress.advance(task, amount)) if total else None
            progress.update(task, completed=total or 1)
