"""``pool-export tune``: measure where a bundle runs fastest on this host, and keep the choice in the user's cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.bundle import open_bundle
from .io import read_texts
from .options import debug_option, json_option
from .output import StepReporter, note, print_json, print_table

if TYPE_CHECKING:
    from ..runtime.tuned import Tuned
    from ..runtime.tuning import Candidate

_COLUMNS = ("device", "precision", "streams", "tokens a batch", "tokens/s", "min cosine", "")


@click.command("tune")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-i", "--input", "source", metavar="FILE", help="Texts to measure with, one a line, or .jsonl.")
@click.option(
    "--min-cosine",
    type=click.FloatRange(0, 1),
    default=0.999,
    show_default=True,
    help="Least cosine to the reference, on the golden vectors, of what may be chosen.",
)
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=40.0, show_default=True, help="Time spent on measuring."
)
@click.option("--threads", type=click.IntRange(0), default=0, help="Compute threads; 0 takes the usable cores.")
@click.option("--forget", is_flag=True, help="Remove what was stored for BUNDLE on this host, and measure nothing.")
@json_option
@debug_option
def tune_command(
    bundle: Path,
    source: str | None,
    min_cosine: float,
    seconds: float,
    threads: int,
    forget: bool,
    as_json: bool,
) -> None:
    """Measure BUNDLE on this host: library, precision, streams and batch size; keep the fastest that is close enough.

    What is found is used by everything that opens the bundle here and leaves device and precision at auto. It is kept
    in the cache (`pool-export doctor` shows where), never in the bundle.

    \b
    Examples:
      pool-export tune ./bundle
      pool-export tune ./bundle --min-cosine 0.98 --input my_texts.txt
      pool-export tune ./bundle --forget
    """
    from ..models_zoo.texts import sentences
    from ..runtime.tuned import tuned_path
    from ..runtime.tuning import tune

    opened = open_bundle(bundle)
    path = tuned_path(opened)
    if forget:
        existed = path.is_file()
        path.unlink(missing_ok=True)
        note(f"{path} removed" if existed else f"nothing was stored for {bundle} on this host")
        return
    texts = read_texts((), source) if source is not None else list(sentences())
    with StepReporter().step(f"Measuring {bundle} for about {seconds:.0f} s"):
        tuned, ranked = tune(opened, texts, min_cosine=min_cosine, seconds=seconds, threads=threads)
    if as_json:
        print_json(
            {"bundle": str(bundle), "chosen": tuned, "path": str(path), "candidates": [_facts(c) for c in ranked]}
        )
        return
    print_table("", _COLUMNS, [_row(candidate, tuned) for candidate in ranked])
    click.echo(
        f"{bundle}: {tuned.device} in {tuned.precision}, {tuned.streams} stream(s), {tuned.max_batch_tokens} tokens a "
        f"batch; used from now on where device and precision are auto ({path})"
    )


def _facts(candidate: Candidate) -> dict[str, Any]:
    given = candidate.config
    return {
        "device": given.device,
        "precision": given.precision,
        "streams": given.streams,
        "max_batch_tokens": given.max_batch_tokens,
        "backend": candidate.backend,
        "tokens_per_second": round(candidate.rate, 1),
        "turns": [round(rate, 1) for rate in candidate.rates],
        "min_cosine": candidate.min_cosine,
        "mean_cosine": candidate.mean_cosine,
        "problem": candidate.problem,
    }


def _row(candidate: Candidate, tuned: Tuned) -> tuple[object, ...]:
    given = candidate.config
    is_chosen = (given.device, given.precision, given.streams, given.max_batch_tokens) == (
        tuned.device,
        tuned.precision,
        tuned.streams,
        tuned.max_batch_tokens,
    )
    return (
        given.device,
        given.precision,
        given.streams or "auto",
        given.max_batch_tokens or "auto",
        f"{candidate.rate:.0f}" if candidate.rates else "-",
        f"{candidate.min_cosine:.5f}" if candidate.min_cosine else "-",
        "chosen" if is_chosen else candidate.problem,
    )
