"""Make, check and write the graphs of other precisions, beside the float32 one that they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from ...runtime.bundle import Bundle
from ...runtime.config import RuntimeConfig
from ...runtime.engine import Engine
from ...runtime.manifest import GraphInfo, Manifest, Precision
from ...runtime.tokens import Encoded
from ..oracle import Array
from ..reporting import Reporter
from ..samples import Sample
from ..verify import check, require_parity
from ..write import write_graph
from .calibration import calibration_inputs, record
from .half import HalfName, emulate, float_values, to_half
from .int8 import plan, quantize
from .linear import find_linears, weights_of
from .ranges import record_ranges

_CHECKED = "checked"  # file stem of a graph that is only run, and removed again


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """What every precision is made from: the float32 graph, and the texts it is measured on."""

    program: ir.Model
    inputs: Sequence[Encoded]
    pad_id: int


def add_siblings(
    folder: Path,
    manifest: Manifest,
    program: ir.Model,
    precisions: Sequence[Precision],
    samples: Sequence[Sample],
    expected: Sequence[dict[str, Array]],
    show: Reporter,
    *,
    allow_mismatch: bool,
) -> Manifest:
    """Add a graph of each precision to a bundle whose float32 graph is there and checked.

    Args:
        folder: bundle folder.
        manifest: its manifest.
        program: the float32 graph; it is left as it was.
        precisions: what to make; fp32 is there already.
        samples: the gate's inputs.
        expected: what the reference answered.
        show: shows the steps.
        allow_mismatch: write a graph that misses its bars all the same.

    Raises:
        ParityError: a graph misses the bars of its precision.
        ExportError: a half-precision type cannot hold the model's values.
    """
    wanted = [name for name in precisions if name != "fp32"]
    if not wanted:
        return manifest
    tokenizer = Engine(Bundle(folder, manifest), RuntimeConfig(device="cpu", precision="fp32")).tokenizer
    inputs = calibration_inputs(tokenizer, manifest.pooling)
    source = Calibrated(program, inputs, manifest.tokenizer.pad_token_id)
    for name in wanted:
        with show.step(f"Making and verifying the {name} graph"):
            made, about = _MAKERS[name](source)
            info = dataclasses.replace(write_graph(made, folder, f"model_{name}"), parity={})
            report = _check(folder, manifest, name, made, info, samples, expected)
        if not allow_mismatch:
            require_parity(report)
        graph = dataclasses.replace(info, parity={**report, **about})
        manifest = dataclasses.replace(manifest, graphs={**manifest.graphs, name: graph})
    return manifest


def _make_int8(source: Calibrated) -> tuple[ir.Model, dict[str, Any]]:
    groups = find_linears(source.program)
    schemes = plan(groups, record(source.program, [group.source for group in groups], source.inputs))
    rounded = [group for group in groups if group.name in schemes]
    about = {
        "layers": sum(len(group.layers) for group in rounded),
        "layers_left_float32": sum(len(group.layers) for group in groups) - sum(len(group.layers) for group in rounded),
        "weights": weights_of(rounded),
        "largest_error": max((schemes[group.name].error for group in rounded), default=0.0),
    }
    return quantize(source.program, schemes), {"int8": about}


def _make_half(name: HalfName) -> Callable[[Calibrated], tuple[ir.Model, dict[str, Any]]]:
    def make(source: Calibrated) -> tuple[ir.Model, dict[str, Any]]:
        values = float_values(source.program)
        ranges = record_ranges(source.program, values, source.inputs, source.pad_id)
        made = to_half(source.program, name, ranges)
        return made, {"half": {"largest": max((x for x in ranges.values() if x < 1e30), default=0.0)}}

    return make


_MAKERS: dict[Precision, Callable[[Calibrated], tuple[ir.Model, dict[str, Any]]]] = {
    "fp16": _make_half("fp16"),
    "bf16": _make_half("bf16"),
    "int8": _make_int8,
}


def _check(
    folder: Path,
    manifest: Manifest,
    name: Precision,
    made: ir.Model,
    info: GraphInfo,
    samples: Sequence[Sample],
    expected: Sequence[dict[str, Array]],
) -> dict[str, Any]:
    """Run the gate: int8 as it is, half precision with every result rounded in a float32 graph."""
    if name == "int8":
        return {**_run(folder, manifest, info, name, samples, expected), "run_by": "onnxruntime on this CPU"}
    emulated = write_graph(emulate(made), folder, _CHECKED)
    try:
        report = _run(folder, manifest, emulated, name, samples, expected)
    finally:
        for file in emulated.files:
            (folder / file.path).unlink()
    return {**report, "run_by": f"float32 arithmetic, every result rounded to {name}"}


def _run(
    folder: Path,
    manifest: Manifest,
    info: GraphInfo,
    name: Precision,
    samples: Sequence[Sample],
    expected: Sequence[dict[str, Array]],
) -> dict[str, Any]:
    # As the only graph, under the name of the arithmetic that runs it.
    trial = dataclasses.replace(manifest, graphs={"fp32": info})
    engine = Engine(Bundle(folder, trial), RuntimeConfig(device="cpu", precision="fp32"))
    return check(engine, samples, expected, name)
