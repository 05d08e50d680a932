"""PNG plots of a run: throughput against fidelity, latency against the texts of a call, share of the roofline."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .bars import Figures, measured, p50s, share, speeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"ours": "tab:red", "peer": "tab:blue", "hand-tuned": "tab:grey"}
# Distances from 1 that float32 cannot tell apart.
_FLOOR = 1e-7
_LINE = 0.035  # height of a label, as a part of the axes


def throughput(axes: Axes, figures: Figures) -> None:
    ran = measured(figures)
    points = {
        name: (max(1 - one["fidelity"]["min_cosine"], _FLOOR), statistics.median(speeds(figures, name)))
        for name, one in ran.items()
    }
    for name, (distance, speed) in points.items():
        axes.plot(distance, speed, "o", color=COLOURS[ran[name]["role"]])
    axes.set(xscale="log", yscale="log", ylabel=f"{figures['unit']}/s", title="Throughput and fidelity")
    axes.set_xlabel("1 − least cosine to sentence-transformers fp32")
    # Names stand right of their points, so the last one needs as much room as a name is wide.
    axes.set_xlim(_FLOOR / 3, 300 * max(distance for distance, _ in points.values()))
    axes.margins(y=0.1)
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    _label(axes, points, ran)


def _label(axes: Axes, points: dict[str, tuple[float, float]], ran: dict[str, Figures]) -> None:
    """Names right of their points, upwards, each at least a line above the last that it could run into."""
    axes.figure.canvas.draw()
    to_axes = axes.transData + axes.transAxes.inverted()
    placed: dict[int, float] = {}
    for name, point in sorted(points.items(), key=lambda item: item[1][1]):
        x, y = (float(value) for value in to_axes.transform(point))
        column = round(x * 8)
        near = [placed[other] for other in range(column - 1, column + 2) if other in placed]
        level = max([y, *(below + _LINE for below in near)])
        placed[column] = level
        drawn = axes.annotate(
            name, point, xytext=(x + 0.03, level), textcoords="axes fraction", va="center", fontsize=8,
            color=COLOURS[ran[name]["role"]], arrowprops={"arrowstyle": "-", "color": "lightgrey", "linewidth": 0.6},
        )  # fmt: skip
        drawn.set_in_layout(False)  # it was placed in the axes as they are, which the layout would change for it


def latency(axes: Axes, figures: Figures) -> None:
    for name, one in measured(figures).items():
        sizes = list(one.get("calls_ms", {}))
        medians = [statistics.median(p50s(figures, name, size)) for size in sizes]
        style = {"ours": "-", "peer": ":", "hand-tuned": "--"}[one["role"]]
        axes.plot([int(size) for size in sizes], medians, style, marker=".", label=name)
    axes.set(xscale="log", yscale="log", xlabel="texts of a call", ylabel="p50 of a call, ms", title="Latency and load")
    if axes.lines:
        axes.legend(fontsize=7)


def roofline(axes: Axes, figures: Figures) -> None:
    ran = measured(figures)
    names = sorted(ran, key=lambda name: share(figures, name))
    found = [share(figures, name) for name in names]
    labels = [name if name.endswith(ran[name]["precision"]) else f"{name} ({ran[name]['precision']})" for name in names]
    drawn = axes.barh(labels, found, color=[COLOURS[ran[name]["role"]] for name in names])
    axes.bar_label(drawn, [f" {value:.0%}" for value in found], fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.set(xlabel="share of the measured GEMM peak of its precision", title="Roofline")


PLOTS: dict[str, Callable[[Axes, Figures], None]] = {
    "throughput.png": throughput,
    "latency.png": latency,
    "roofline.png": roofline,
}


def draw(figures: Figures, folder: Path) -> None:
    """Write every plot of a workload to a folder."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in PLOTS.items():
        figure = Figure(figsize=(9, 5.5), layout="constrained")
        plot(figure.subplots(), figures)
        figure.savefig(folder / name, dpi=100)
