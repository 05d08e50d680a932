"""Contenders side by side: speed, latency, memory, start-up and fidelity. `make bench` runs it; bench_report.py judges.

python -m pool_export.benchmarks.bench --workload natural --contender 'pool-export*' --contender onnxruntime
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import machine
from .contenders import CONTENDERS, Contender, named
from .measure import Settings, measure
from .process import ContenderError
from .workloads import WORKLOADS, Workload

_PACKAGES = ("pool-export", "onnxruntime", "openvino", "numpy", "tokenizers", "torch", "sentence-transformers")
_QUICK = {"rounds": 2, "searched": 0, "startups": 1, "calls": ((1, 5), (8, 1)), "probe_seconds": 1.0}


def _chosen(patterns: tuple[str, ...], workload: Workload, *, quick: bool) -> tuple[Contender, ...]:
    """Contenders of a workload: those asked for, else its own; a quick run keeps to this environment."""
    try:
        among = named(patterns)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--contender") from None
    if patterns:
        return among
    return tuple(one for one in named(workload.only) if not quick or one.environment == "own")


def run(
    workloads: tuple[str, ...], contenders: tuple[str, ...], settings: Settings, work: Path, *, quick: bool
) -> Iterator[dict[str, Any]]:
    """Measure the workloads one by one; after each, all that was found so far."""
    found: dict[str, Any] = {**machine.about(_PACKAGES), "threads": settings.threads, "quick": quick, "workloads": {}}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name in workloads or tuple(WORKLOADS):
            workload = WORKLOADS[name]
            chosen = _chosen(contenders, workload, quick=quick)
            number = workload.quick if quick else workload.number
            found["workloads"][name] = measure(workload, chosen, settings, work, progress, number=number)
            yield found


@click.command()
@click.option("--workload", "workloads", multiple=True, type=click.Choice(tuple(WORKLOADS)), help="[default: all]")
@click.option("--contender", "contenders", multiple=True, metavar="PATTERN", help="Name, * and ? allowed.")
@click.option("--rounds", type=click.IntRange(1), help="Turns of each contender.  [default: 5, quick 2]")
@click.option("--threads", type=click.IntRange(1), help="Of every contender.  [default: the cores there are]")
@click.option("--quick", is_flag=True, help="Under two minutes: few texts, natural mix, this environment.")
@click.option("--work", default=Path("build/bench"), type=click.Path(path_type=Path), help="Models, logs, caches.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write what was measured to this file.")
@click.option("--list", "listed", is_flag=True, help="List contenders and workloads, and what is not installed.")
def main(
    workloads: tuple[str, ...],
    contenders: tuple[str, ...],
    rounds: int | None,
    threads: int | None,
    quick: bool,
    work: Path,
    target: Path | None,
    listed: bool,
) -> None:
    """Measure contenders side by side."""
    if listed:
        show_list()
        return
    cores = sorted(os.sched_getaffinity(0))
    threads = threads or len(cores)
    os.sched_setaffinity(0, cores[:threads])  # inherited: nobody gets more than its threads
    settings = Settings(threads=threads)
    if quick:
        settings, workloads = replace(settings, **_QUICK), workloads or ("natural",)
    if rounds:
        settings = replace(settings, rounds=rounds)
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as an exception, so that every contender is ended too
        signal.signal(number, lambda *_: sys.exit(1))
    found: dict[str, Any] = {}
    try:
        for found in run(workloads, contenders, settings, work, quick=quick):
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    except (ContenderError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    if target is None:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))


def show_list() -> None:
    for contender in CONTENDERS:
        click.echo(f"{contender.name:<32}{contender.role:<12}{contender.missing() or 'ready'}")
    for name, workload in WORKLOADS.items():
        click.echo(f"{name:<32}{workload.number} x {workload.title}")


if __name__ == "__main__":
    main()
