"""What an export says of itself: steps while it runs, a result at its end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..runtime.manifest import Manifest
from .engines.build import Built
from .source import Source


class Reporter(Protocol):
    """Shows progress; the command line supplies one, a library caller none."""

    def step(self, title: str, total: int | None = None, *, animated: bool = True) -> AbstractContextManager[Any]:
        """Enter a step; the yielded callable (or ``None``) advances it.

        Without ``animated`` the step draws nothing that moves: something else in it has bars of its own.
        """

    def note(self, text: str) -> None:
        """Say one line that a reader of the result should know."""


class SilentReporter:
    """A reporter that shows no steps; what a reader should know goes to the log."""

    @contextlib.contextmanager
    def step(self, title: str, total: int | None = None, *, animated: bool = True) -> Iterator[None]:
        """Do nothing."""
        yield None

    def note(self, text: str) -> None:
        """Log the line: `LLM("org/name")` exports with nobody watching, and a card is never applied in silence."""
        logging.getLogger("pool_export").warning(text)


@dataclass(frozen=True)
class ExportResult:
    """A written bundle and the engines beside its graphs; ``notes`` are for the person who asked, one line each."""

    folder: Path
    manifest: Manifest
    report: dict[str, Any]
    notes: tuple[str, ...] = ()
    engines: tuple[Built, ...] = ()


def default_output(source: Source) -> Path:
    """Bundle folder when none was named: the model's own name, in the working folder."""
    return Path.cwd() / (source.id.rsplit("/", 1)[-1] + "-bundle")
