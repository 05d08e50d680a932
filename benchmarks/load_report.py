"""Judge what load.py wrote: tables, four bars (medians of the turns), a plot. Exits with 1 when a bar is missed."""

from __future__ import annotations

import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

TAIL, RSS_GROWTH, SHARE = 5.0, 0.10, 0.90
# Seconds of load after which memory has to stay where it is.
SETTLED = 10.0


def by_kind(result: dict[str, Any]) -> dict[str, list[float]]:
    """Milliseconds by kind of request, and of all."""
    kinds = sorted({kind for _, kind, _ in result["requests"]})
    times = {kind: [wall for _, of, wall in result["requests"] if of == kind] for kind in kinds}
    return {**times, "all": [wall for *_, wall in result["requests"]]}


def tails(result: dict[str, Any]) -> list[float]:
    """p99 over p50 turn by turn: over all turns it would also measure how evenly the machine was free."""
    turns = range(len(result["served"]))
    walls = [[wall for turn, _, wall in result["requests"] if turn == number] for number in turns]
    return [float(np.percentile(wall, 99) / np.percentile(wall, 50)) for wall in walls]


def shares(result: dict[str, Any]) -> list[float]:
    """The server's throughput over that of the offline engine just before and after, turn by turn."""
    around = pairwise(turn["texts_per_s"] for turn in result["offline"])
    return [turn["texts_per_s"] / statistics.mean(pair) for turn, pair in zip(result["served"], around, strict=True)]


def rss_growth(result: dict[str, Any]) -> float:
    settled = [mb for at, mb in result["rss_mb"] if at >= SETTLED]
    return max(settled) / settled[0] - 1


def bars(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What is asked: name, limit, what was found, whether it holds."""
    tail, share = statistics.median(tails(result)), statistics.median(shares(result))
    faults, growth = len(result["faults"]), rss_growth(result)
    return [
        ("errors other than 429", "0", f"{faults}", not faults),
        ("p99 / p50", f"< {TAIL:g}", f"{tail:.2f}", tail < TAIL),
        (f"RSS growth after {SETTLED:g} s", f"<= {RSS_GROWTH:.0%}", f"{growth:+.1%}", growth <= RSS_GROWTH),
        ("throughput / offline engine", f">= {SHARE:.0%}", f"{share:.1%}", share >= SHARE),
    ]


def show(result: dict[str, Any], asked: list[tuple[str, str, str, bool]]) -> None:
    console = Console()
    table = Table("requests", "count", "p50 ms", "p90 ms", "p99 ms", "max ms", title=f"{result['clients']} clients")
    for kind, times in by_kind(result).items():
        found = np.percentile(times, [50, 90, 99, 100])
        table.add_row(kind, str(len(times)), *(f"{value:.0f}" for value in found))
    console.print(table)
    table = Table(
        "turn", "p99 / p50", "offline texts/s", "server texts/s", "share", "CPU ms a text: offline", "server", "client"
    )
    turns = zip(tails(result), shares(result), result["offline"], result["served"], strict=False)
    for number, (tail, share, engine, server) in enumerate(turns, start=1):
        cells = (engine["cpu_ms_per_text"], server["cpu_ms_per_text"], server["client_cpu_ms_per_text"])
        speed = (f"{engine['texts_per_s']:.0f}", f"{server['texts_per_s']:.0f}", f"{share:.1%}")
        table.add_row(str(number), f"{tail:.2f}", *speed, *(f"{cell:.2f}" for cell in cells))
    console.print(table)
    console.print(f"tokens a text {result['tokens']}, statuses {result['statuses']}, compared {result['compared']}")
    table = Table("bar", "limit", "found", "")
    for name, limit, found, holds in asked:
        table.add_row(name, limit, found, "[green]holds[/]" if holds else "[red]missed[/]")
    console.print(table)


def plot(result: dict[str, Any], target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind, times in by_kind(result).items():
        left.ecdf(times, label=kind, linewidth=2.5 if kind == "all" else 1)
    left.set(xlabel="latency, ms", ylabel="share of requests answered", title=f"{result['clients']} clients")
    left.legend()
    right.plot(*zip(*result["rss_mb"], strict=True))
    right.axvline(SETTLED, color="grey", linestyle=":")
    right.set(xlabel="seconds of load", ylabel="MB", title="Resident memory of the server", ylim=(0, None))
    figure.savefig(target, dpi=100)


@click.command()
@click.argument("measured", type=click.Path(exists=True, path_type=Path))
@click.option("--plot", "target", type=click.Path(path_type=Path), help="Write a PNG; needs the `bench` extra.")
def main(measured: Path, target: Path | None) -> None:
    """Judge the file that load.py wrote."""
    result = orjson.loads(measured.read_bytes())
    asked = bars(result)
    show(result, asked)
    if target is not None:
        plot(result, target)
    raise SystemExit(0 if all(holds for *_, holds in asked) else 1)


if __name__ == "__main__":
    main()
