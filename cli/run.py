"""``pool-export embed | classify | score | reward``: a bundle over texts from the command line."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..models_zoo.templates import find_template
from ..runtime.config import RuntimeConfig
from ..runtime.options import from_env, option_fields
from .io import check_output, print_records, read_pairs, read_texts, write_output
from .options import debug_option, declared, given
from .output import StepReporter, note, print_table
from .token_rows import token_records, token_rows

if TYPE_CHECKING:
    import numpy as np

    from ..runtime.llm import LLM

    Arrays = Sequence[np.ndarray] | Sequence[float]

Record = dict[str, Any]
Columns = Sequence[str]

_SHOWN_TEXT = 40  # beside four numbers, 80 columns
_SHOWN_DOCUMENT = 70
_SHOWN_NUMBERS = 4
_SHOWN_LABELS = 3
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

    def prompts(self) -> list[str]:
        """Texts from the arguments or from ``--input``, after the output name was checked."""
        check_output(self.output)
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


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
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


@click.command("embed")
@click.argument("model")
@click.argument("texts", nargs=-1)
@click.option("--dimensions", type=int, help="Shorten the vectors (Matryoshka models).")
@click.option("--prompt-name", metavar="NAME", help="Which of the model's prompts goes before every text.")
@click.option("--prompt", metavar="TEXT", help="Text that goes before every text instead; '' for none.")
@_run_options
def embed_command(arguments: RunArguments, dimensions: int | None, prompt_name: str | None, prompt: str | None) -> None:
    """Embed TEXTS with MODEL (a bundle; a checkpoint is exported into the cache first).

    \b
    Examples:
      pool-export embed ./bundle "some text" "another one"
      pool-export embed ./bundle --input corpus.txt --output vectors.npy
    """
    prompts = arguments.prompts()
    call = arguments.call(dimensions)
    results = arguments.open().embed(prompts, prompt_name=prompt_name, prompt=prompt, **call)
    arrays = [item.outputs.data for item in results]
    records: list[Record] = [{"index": i, "embedding": item.outputs.embedding} for i, item in enumerate(results)]
    rows = [(_short(text), _numbers(array)) for text, array in zip(prompts, arrays, strict=True)]
    arguments.emit(records, arrays, ("text", f"embedding ({len(arrays[0])} dimensions)"), rows)


@click.command("classify")
@click.argument("model")
@click.argument("texts", nargs=-1)
@_run_options
def classify_command(arguments: RunArguments) -> None:
    """Classify TEXTS with MODEL (a bundle; a checkpoint is exported into the cache first).

    \b
    Examples:
      pool-export classify ./bundle "what a lovely day"
      pool-export classify ./bundle --input reviews.jsonl --output labels.jsonl
    """
    prompts = arguments.prompts()
    llm = arguments.open()
    if "token_classify" in llm.spec.tasks and llm.spec.convert == "classify":
        columns = ("text", "token", "label", "logit" if arguments.raw else "probability")
        tagged = llm.encode(prompts, pooling_task="token_classify", **arguments.call())
        arguments.emit(
            token_records(llm, tagged), [item.outputs.data for item in tagged], columns, token_rows(llm, tagged)
        )
        return
    results = llm.classify(prompts, **arguments.call())
    arrays = [item.outputs.data for item in results]
    labels = [llm.spec.labels[int(array.argmax())] for array in arrays]
    records: list[Record] = [
        {"index": i, "label": label, "probs": item.outputs.probs}
        for i, (item, label) in enumerate(zip(results, labels, strict=True))
    ]
    rows = [(_short(text), _best(array, llm.spec.labels)) for text, array in zip(prompts, arrays, strict=True)]
    arguments.emit(records, arrays, ("text", "logits" if arguments.raw else "probabilities"), rows)


@click.command("score")
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[QUERY DOCUMENT...]")
@click.option("--instruction", metavar="TEXT", help="What the score template tells the model to judge by.")
@click.option("--chat-template", metavar="NAME|FILE", help="Score template (jinja) instead of the bundle's.")
@click.option("--query-prompt-name", metavar="NAME", help="Embedding models: the prompt of the queries.")
@click.option("--document-prompt-name", metavar="NAME", help="Embedding models: the prompt of the documents.")
@_run_options
def score_command(arguments: RunArguments, chat_template: str | None, **pairing: Any) -> None:
    """Score QUERY against every DOCUMENT, or the pairs of a .jsonl file, with MODEL.

    A cross-encoder reads each pair; an embedding model answers its similarity (mostly the cosine).
    A QUERY alone takes its documents from --input; without one, --input holds the pairs.

    \b
    Examples:
      pool-export score ./bundle "capital of France?" "Paris is." "Berlin is."
      pool-export score ./bundle "capital of France?" --input documents.txt
      pool-export score ./bundle --input pairs.jsonl --output scores.npy
    """
    check_output(arguments.output)
    template = find_template(chat_template) if chat_template is not None else None
    queries, documents = _pairs(arguments)
    results = arguments.open().score(queries, documents, chat_template=template, **pairing, **arguments.call())
    scores = [item.outputs.score for item in results]
    records: list[Record] = [{"index": i, "score": score} for i, score in enumerate(scores)]
    rows = [(f"{score:.4f}", _short(text, _SHOWN_DOCUMENT)) for score, text in zip(scores, documents, strict=True)]
    if len(queries) == 1:
        rows = [rows[i] for i in sorted(range(len(rows)), key=lambda i: -scores[i])]
    arguments.emit(records, scores, ("score", "document"), rows)


@click.command("reward")
@click.argument("model")
@click.argument("texts", nargs=-1)
@_run_options
def reward_command(arguments: RunArguments) -> None:
    """Reward TEXTS with MODEL: one row a token (or a step), as they are unless the model says else.

    \b
    Examples:
      pool-export reward ./bundle "the answer is 4" --json
    """
    prompts = arguments.prompts()
    results = arguments.open().reward(prompts, **arguments.call())
    arrays = [item.outputs.data for item in results]
    records: list[Record] = [{"index": i, "rewards": array.tolist()} for i, array in enumerate(arrays)]
    rows = [
        (_short(text), f"{array.shape[0]} × {array.shape[1]}", _numbers(array[-1]) if len(array) else "")
        for text, array in zip(prompts, arrays, strict=True)
    ]
    arguments.emit(records, arrays, ("text", "rows × width", "last row"), rows)


def _pairs(arguments: RunArguments) -> tuple[list[str], list[str]]:
    if arguments.source is not None and not arguments.texts:
        return read_pairs(arguments.source)
    if arguments.source is not None and len(arguments.texts) == 1:
        return read_texts(arguments.texts, None), read_texts((), arguments.source)
    query, *documents = arguments.prompts()
    if not documents:
        raise click.UsageError("give a query and at least one document")
    return [query], documents


def _short(text: str, room: int = _SHOWN_TEXT) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= room else flat[: room - 1] + "…"


def _best(values: np.ndarray, labels: Sequence[str]) -> str:
    order = (-values).argsort(kind="stable")
    shown = "  ".join(f"{labels[i]} {values[i]:.4f}" for i in order[:_SHOWN_LABELS])
    return shown + ("  …" if len(values) > _SHOWN_LABELS else "")


def _bar(**options: Any) -> Any:
    """Make a progress bar that a quick run never shows and a long one takes away when done."""
    from tqdm import tqdm

    return tqdm(**options, delay=_PROGRESS_AFTER, leave=False)


def _numbers(values: np.ndarray) -> str:
    shown = "  ".join(f"{value:+.4f}" for value in values[:_SHOWN_NUMBERS])
    return shown + ("  …" if len(values) > _SHOWN_NUMBERS else "")
