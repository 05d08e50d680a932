"""Tokens a second on an NVIDIA GPU, and how much of it that uses, beside sentence-transformers (`make gpu-check`).

python -m pool_export.benchmarks.gpu --json build/gpu/results.json --model bert-base

Everything is in one process, in turns: of each round every contender has one. Without a GPU it says so and ends well.
`--rehearse` runs the same on the CPU in float32, with a few texts, to see that the script itself works.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson

from pool_export.runtime.backends.devices import device_states
from pool_export.runtime.engines.library import LIBRARIES

from . import corpus, machine, models, stats
from .gpu_work import GEMM_SIDE, flops_of, gemm_peak, ours, theirs

_PACKAGES = (
    "pool-export", "onnxruntime-gpu", "tensorrt", "tensorrt_rtx_cu13_bindings", "cuda-bindings", "torch",
    "sentence-transformers", "transformers",
)  # fmt: skip
_MODELS = ("minilm", "bert-base", "bert-large", "qwen3-0.6b")
_MIXES: dict[str, Callable[[int, corpus.Count], list[str]]] = {
    "natural": corpus.natural,
    "short": corpus.short,
    "long": corpus.long,
}
_PRECISIONS = ("fp16", "bf16")
_BATCH_SIZES = (32, 128)

Embed = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True)
class Settings:
    """How much is measured, and where."""

    texts: int
    rounds: int
    calls: int
    device: str
    precisions: tuple[str, ...]
    devices: tuple[str, ...]


def contenders(name: str, work: Path, settings: Settings) -> Iterator[tuple[str, Callable[[], Embed]]]:
    """Name and opener of everybody who embeds with a model; ours on each device that can be used here."""
    for precision in settings.precisions:
        for size in _BATCH_SIZES:
            title = f"sentence-transformers {precision}, batch {size}"
            yield title, lambda p=precision, s=size: theirs(models.checkpoint(name, work), name, settings.device, p, s)
        for device in settings.devices:
            folder = models.gpu_bundle(name, work, settings.precisions)
            yield f"pool-export {device} {precision}", lambda f=folder, d=device, p=precision: ours(f, d, p)


def measure(name: str, mix: str, work: Path, settings: Settings) -> dict[str, Any]:
    """One model and one mix of lengths: each contender untimed once, then in turns; then single texts."""
    length = models.MODELS[name].max_length
    count = models.counter(name, work)
    number = settings.texts if mix != "long" else max(8, settings.texts // 8)
    make = _MIXES[mix]
    texts = make(number, count) if mix != "long" else corpus.long(number, count, tokens=length)
    facts = corpus.facts(texts, count)
    lengths = [count(text) for text in texts]
    reference = theirs(models.checkpoint(name, work), name, settings.device, "fp32", 32)(texts)
    found: dict[str, Any] = {}
    opened: dict[str, Embed] = {}
    for title, opener in contenders(name, work, settings):
        try:
            opened[title] = opener()
            found[title] = {"fidelity": stats.fidelity(opened[title](texts), reference), "seconds": [], "single_ms": []}
        except Exception as error:  # noqa: BLE001  (whoever fails is out, with what it said; the others go on)
            opened.pop(title, None)
            found[title] = {"unavailable": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
    for turn in range(settings.rounds):
        for title in random.Random(turn).sample(list(opened), len(opened)):
            found[title]["seconds"].append(_timed(lambda embed=opened[title]: embed(texts)))
    for title, embed in opened.items():
        singles = [texts[index % len(texts)] for index in range(settings.calls)]
        found[title]["single_ms"] = [1000 * _timed(lambda text=text, embed=embed: embed([text])) for text in singles]
    return {
        **facts,
        "flops": flops_of(models.multiply_adds(name, work), models.attention(name, work), lengths),
        "contenders": found,
    }


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()  # answers are numpy arrays: the GPU is done
    return time.perf_counter() - began


def usable() -> tuple[tuple[str, ...], list[str]]:
    """The devices of ours that can be used, and why the others cannot."""
    states = {state.device: state for state in device_states() if state.device in ("cuda", *LIBRARIES)}
    return (
        tuple(name for name, state in states.items() if state.usable),
        [f"device {name}: {state.about}" for name, state in states.items() if not state.usable],
    )


def _torch_problem() -> str | None:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return None if torch.cuda.is_available() else f"torch {torch.__version__} sees no CUDA device"


@click.command()
@click.option("--json", "target", type=click.Path(path_type=Path), required=True, help="Write what was measured here.")
@click.option("--model", "names", multiple=True, type=click.Choice(_MODELS), help="[default: all]")
@click.option("--mix", "mixes", multiple=True, type=click.Choice(tuple(_MIXES)), help="[default: all]")
@click.option("--texts", default=2048, show_default=True, type=click.IntRange(8), help="Texts of a mix.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Turns of each contender.")
@click.option("--work", default="build/bench", type=click.Path(path_type=Path), help="Where the models are kept.")
@click.option("--rehearse", is_flag=True, help="On the CPU, in float32: to see that the script works.")
def main(
    target: Path, names: tuple[str, ...], mixes: tuple[str, ...], texts: int, rounds: int, work: Path, rehearse: bool
) -> None:
    """Measure, and write one JSON file; benchmarks/gpu_report.py makes the page of it."""
    devices, missing = usable()
    problem = _torch_problem()
    if not rehearse and (problem or not devices):
        for reason in [*([problem] if problem else []), *missing]:
            click.echo(f"skipped: {reason}")
        click.echo("benchmarks/gpu.py: nothing was measured")
        return
    if rehearse:
        settings = Settings(texts, rounds, 5, "cpu", ("fp32",), ("cpu",))
    else:
        settings = Settings(texts, rounds, 200, "cuda", _PRECISIONS, devices)
    result: dict[str, Any] = {
        **machine.about(_PACKAGES),
        "gpu": _gpu_name() if not rehearse else "none: a rehearsal on the CPU",
        "rehearsal": rehearse,
        "missing": missing,
        "gemm_side": GEMM_SIDE,
        "gemm_flops": {name: gemm_peak(settings.device, name) for name in settings.precisions},
        "rounds": rounds,
        "runs": {},
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in names or _MODELS:
        for mix in mixes or tuple(_MIXES):
            click.echo(f"{name}, {mix}", err=True)
            result["runs"][f"{name} {mix}"] = measure(name, mix, work, settings)
            target.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


def _gpu_name() -> str:
    words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        import torch

        return str(torch.cuda.get_device_name())
    return done.stdout.splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
