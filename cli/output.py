"""Printing: data on stdout, words for people on stderr, tables through rich."""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

# A pipe has no width: nothing is folded there, so that `grep` and `less -S` see whole rows.
_UNBOUNDED = 10_000

# What a step's line holds beside its title: mark and time, and then a bar and a count.
_STEP_WIDTH, _COUNTED_WIDTH = 11, 47


def print_json(value: Any) -> None:
    """Print one indented JSON document on stdout."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, folds: str | None = None
) -> None:
    """Print a title, a table and an empty line on stdout.

    Args:
        title: words above the table; may be empty.
        columns: headings.
        rows: cells, in the columns' order.
        folds: column that gives way on a narrow terminal; ``None`` takes the widest.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, not markup: a model's label may well contain brackets.
    cells = [[Text(str(cell)) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)] or [0] * len(columns)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    folding = folds or columns[widths.index(max(widths))]
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name != folding)
    for line in cells:
        table.add_row(*line)
    console = Console(color_system=None, width=terminal_width())
    with console.capture() as captured:
        console.print(table)
    if title:
        click.echo(title + "\n")
    for text in captured.get().splitlines():
        click.echo(text.rstrip())
    click.echo()


def print_wrapped(text: str) -> None:
    """Print a paragraph on stdout, broken between words where the terminal ends."""
    click.echo(textwrap.fill(text, terminal_width(), break_long_words=False, break_on_hyphens=False))


def terminal_width() -> int:
    """Columns of the terminal that stdout is; a file has no end of them."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNBOUNDED


def note(message: str) -> None:
    """Say something to the person at the terminal (stderr)."""
    click.echo(message, err=True)


def _elided(title: str, room: int) -> str:
    """Cut out of the middle what does not fit; a path says most at its end."""
    head = max(room // 3, 1)
    return title if len(title) <= room else title[:head] + "…" + title[head + 1 - room :]


class StepReporter:
    """Shows the steps of a long operation on stderr: a spinner or bar on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        """Open the console; it keeps today's stderr while the exporter's noise is redirected."""
        from rich.console import Console

        self._console = Console(file=sys.stderr)
        # Asked of the stream itself: FORCE_COLOR makes rich take a log file for a terminal.
        self._animated = sys.stderr.isatty() and not self._console.is_dumb_terminal

    def note(self, text: str) -> None:
        """Print one line on stderr; it is folded nowhere."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def step(
        self, title: str, total: int | None = None, *, animated: bool = True
    ) -> Iterator[Callable[[int], object] | None]:
        """Show one step; the yielded callable advances it when ``total`` is known."""
        if not (self._animated and animated):
            self._console.print(f"{title} …", highlight=False, markup=False, soft_wrap=True)
            yield None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        counted = (BarColumn(bar_width=24), MofNCompleteColumn()) if total else ()
        words = TextColumn("{task.description}", markup=False)
        columns = (SpinnerColumn(finished_text="✓"), TimeElapsedColumn(), words, *counted)
        room = self._console.width - (_COUNTED_WIDTH if total else _STEP_WIDTH)
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(_elided(title, room), total=total or 1)
            yield (lambda amount: progress.advance(task, amount)) if total else None
            progress.update(task, completed=total or 1)
