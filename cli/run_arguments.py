"""What the commands that run texts share: their options, their inputs, and how results are shown."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.config import RuntimeConfig
from ..runtime.options import from_env, option_fields
from .io import check_output, print_records, read_texts, write_output
from .options import debug_option, declared, given
from .output import StepReporter, note, print_table

if TYPE_CHECKING:
    import numpy as np

    from ..runtime.llm import LLM

    Arrays = Sequence[np.ndarray] | Sequence[float]

Record = dict[str, Any]
Columns = Sequence[str]

_SHOWN_TEXT = 40  # beside four numbers, 80 columns
_SHOWN_NUMBERS = 4
_PROGRESS_AFTER = 1.0  # seconds; a shorter run needs no bar


@dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What the four commands share, as given on the command line."""

    model: str
    texts: tuple[str, ...]
    source: str | None
    output: Path | None
    as_json: bool
    raw: bool
    truncate: bool
    runtime: dict[str, Any]

    def prompts(self, optional: bool = False) -> list[str]:
        """Texts from the arguments or from ``--input``, after the output name was checked; none where ``optional``."""
        check_output(self.output)
        if optional and not self.texts and self.source is None:
            return []
        return read_texts(self.texts, self.source)

    def open(self) -> LLM:
        """Open the model; a checkpoint is exported first, with its steps on stderr."""
        from ..runtime.autoexport import bundle_for
        from ..runtime.bundle import is_bundle
        from ..runtime.llm import LLM

        if is_bundle(self.model):
            return LLM(self.model, **given(self.runtime))
        note(f"{self.model} is not a bundle: taking its export from the cache, or making it …")
        from_env(RuntimeConfig, **given(self.runtime))  # a wrong option is better known before an export
        # Libraries print while they export; stdout is for the results alone.
        with contextlib.redirect_stdout(sys.stderr):
            folder = bundle_for(self.model, reporter=StepReporter())
        return LLM(folder, **given(self.runtime))

    def call(self, dimensions: int | None = None) -> dict[str, Any]:
        """Keyword arguments of the ``LLM`` method."""
        from ..runtime.params import PoolingParams

        return {
            "pooling_params": PoolingParams(use_activation=False if self.raw else None, dimensions=dimensions),
            "truncate_prompt_tokens": -1 if self.truncate else None,
            "use_tqdm": _bar if sys.stderr.isatty() else False,
        }

    def emit(
        self, records: Sequence[Record], arrays: Arrays, columns: Columns, rows: Sequence[Sequence[object]]
    ) -> None:
        """Write the file asked for; else JSON lines, or a table for a person at a terminal."""
        if self.output is not None:
            write_output(self.output, records, arrays)
            note(f"{len(records)} result(s) written to {self.output}")
        elif self.as_json or not sys.stdout.isatty():
            print_records(records)
        else:
            print_table("", columns, rows, folds="document" if "document" in columns else "text")


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options and hand them over as one ``RunArguments``."""

    @functools.wraps(command)
    def collect(**values: Any) -> None:
        shared = {item.name: values.pop(item.name) for item in fields(RunArguments) if item.name in values}
        runtime = {item.name: values.pop(item.name) for item, _ in option_fields(RuntimeConfig)}
        command(RunArguments(runtime=runtime, **shared), **values)

    for decorate in (
        debug_option,
        declared(RuntimeConfig, env=True),
        click.option("--truncate", is_flag=True, help="Cut over-long texts at the model's limit, instead of failing."),
        click.option("--raw", is_flag=True, help="Leave out the last function (normalise, sigmoid, softmax)."),
        click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, also on a terminal."),
        click.option("-o", "--output", type=click.Path(path_type=Path), help="Write results to a .jsonl or .npy file."),
        click.option("-i", "--input", "source", metavar="FILE", help="Read texts from .txt, .jsonl or - (stdin)."),
    ):
        collect = decorate(collect)
    return collect


def _bar(**options: Any) -> Any:
    """Make a progress bar that a quick run never shows and a long one takes away when done."""
    from tqdm import tqdm

    return tqdm(**options, delay=_PROGRESS_AFTER, leave=False)


def short(text: str, room: int = _SHOWN_TEXT) -> str:
    """Flatten a text to one line, cut to fit."""
    flat = " ".join(text.split())
    return flat if len(flat) <= room else flat[: room - 1] + "…"


def numbers(values: np.ndarray) -> str:
    """Show the first numbers of an array."""
    shown = "  ".join(f"{value:+.4f}" for value in values[:_SHOWN_NUMBERS])
    return shown + ("  …" if len(values) > _SHOWN_NUMBERS else "")
