"""Make, check and write the graphs of other precisions, beside the float32 one that they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import onnx
import onnx_ir as ir

from ...runtime.bundle import Bundle
from ...runtime.config import RuntimeConfig
from ...runtime.engine import Engine
from ...runtime.manifest import GraphInfo, Manifest, Precision
from ...runtime.tokens import Encoded, TextTokenizer
from ..errors import ExportError, ParityError
from ..oracle import Array
from ..reporting import Reporter
from ..samples import Sample
from ..verify import check, require_parity
from ..write import write_graph
from .calibration import calibration_inputs, record
from .half import HALVES, HalfName, emulate, float_layers, float_values, reaches, rounded_values, to_half
from .int8 import plan, quantize
from .linear import find_linears, weights_of
from .ranges import record_ranges

_CHECKED = "checked"  # file stem of a graph that is only run, and removed again

# Mean overlap of each text's ten nearest texts with those by the reference; beside the bars of runtime/bars.py.
_FEWEST_NEIGHBOURS: dict[Precision, float] = {"int8": 0.95}

# What is tried in turn: layers that err more than this on calibration texts stay float32 in the int8 graph ...
_MOST_ERRORS = (0.06, 0.03, 0.015)
# ... of which at least so many weights have to be integers.
_FEWEST_ROUNDED = 0.5

_Attempts = Iterator[tuple[ir.Model, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Gate:
    """What every graph of a bundle is compared with.

    Attributes:
        samples: inputs.
        expected: the reference's outputs, in the same order.
        allow_mismatch: write a graph that misses its bars all the same.
    """

    samples: Sequence[Sample]
    expected: Sequence[dict[str, Array]]
    allow_mismatch: bool


@dataclasses.dataclass(frozen=True)
class _Source:
    """What every precision is made from: the float32 graph, and the texts it is measured on."""

    program: ir.Model
    inputs: Sequence[Encoded]
    pad_id: int
    model_type: str


def add_siblings(
    folder: Path,
    manifest: Manifest,
    program: ir.Model,
    precisions: Sequence[Precision],
    tokenizer: TextTokenizer,
    gate: Gate,
    show: Reporter,
) -> Manifest:
    """Add a graph of each precision to a bundle whose float32 graph is there and checked.

    Args:
        folder: bundle folder.
        manifest: its manifest.
        program: the float32 graph; it is left as it was.
        precisions: what to make; fp32 is there already.
        tokenizer: the bundle's.
        gate: what the graphs are compared with.
        show: shows the steps.

    Raises:
        ParityError: a graph misses the bars of its precision.
        ExportError: a half-precision type cannot hold the model's values, or int8 errs too much in most layers.
    """
    wanted = [name for name in precisions if name != "fp32"]
    if not wanted:
        return manifest
    if manifest.image is not None:
        raise ExportError(f"a model with an image tower is exported in fp32 only, got --precision {','.join(wanted)}")
    source = _Source(
        program,
        calibration_inputs(tokenizer, manifest.pooling),
        manifest.tokenizer.pad_token_id,
        manifest.source.model_type,
    )
    for name in wanted:
        with show.step(f"Making and verifying the {name} graph"):
            graph = _first_that_passes(folder, manifest, name, source, gate)
        if not gate.allow_mismatch:
            require_parity(graph.parity)
        manifest = dataclasses.replace(manifest, graphs={**manifest.graphs, name: graph})
    return manifest


def _first_that_passes(folder: Path, manifest: Manifest, name: Precision, source: _Source, gate: Gate) -> GraphInfo:
    """Write attempt after attempt under the same name; the first one that passes, or else the last one, stays."""
    graph: GraphInfo | None = None
    failure: ParityError | None = None
    for made, about in _MAKERS[name](source):
        graph = write_graph(made, folder, f"model_{name}")
        # Types and shapes of every value, as any host infers them.
        onnx.checker.check_model(folder / graph.files[0].path, full_check=True)
        try:
            report = _check(folder, manifest, name, made, graph, gate)
        except ParityError as error:  # not finite: never written, whatever is allowed
            failure = error
            continue
        graph, failure = dataclasses.replace(graph, parity={**report, **about}), None
        if report["passed"]:
            break
    if failure is not None:
        raise failure
    if graph is None:
        raise ExportError(f"no {name} graph can be made of this model; leave {name} out")
    return graph


def _int8_attempts(source: _Source) -> _Attempts:
    groups = find_linears(source.program)
    schemes = plan(groups, record(source.program, [group.source for group in groups], source.inputs))
    kept = None
    for most in _MOST_ERRORS:
        rounded = [group for group in groups if schemes[group.name].error <= most]
        if len(rounded) == kept:
            continue
        kept = len(rounded)
        if weights_of(rounded) < _FEWEST_ROUNDED * weights_of(groups):
            worst = max(groups, key=lambda group: schemes[group.name].error)
            raise ExportError(
                f"int8 errs too much in most layers: {worst.layers[0].node.name} by {schemes[worst.name].error:.2f} of "
                f"its output's spread, expected at most {most}; leave int8 out"
            )
        about = {
            "layers": sum(len(group.layers) for group in rounded),
            "float32_layers": [layer.node.name for group in groups if group not in rounded for layer in group.layers],
            "largest_error": max(schemes[group.name].error for group in rounded),
        }
        yield quantize(source.program, {group.name: schemes[group.name] for group in rounded}), about


def _half_attempts(name: HalfName) -> Callable[[_Source], _Attempts]:
    def attempts(source: _Source) -> _Attempts:
        values = float_values(source.program)
        ranges = record_ranges(source.program, values, source.inputs, source.pad_id)
        for reach in reaches(name, source.model_type):
            made = to_half(source.program, name, ranges, reach)
            yield made, {"reach": reach, "float32_layers": float_layers(made)}

    return attempts


_MAKERS: dict[Precision, Callable[[_Source], _Attempts]] = {
    "fp16": _half_attempts("fp16"),
    "bf16": _half_attempts("bf16"),
    "int8": _int8_attempts,
}


def _check(
    folder: Path, manifest: Manifest, name: Precision, made: ir.Model, graph: GraphInfo, gate: Gate
) -> dict[str, Any]:
    """Run the gate: int8 as it is, half precision in a float32 graph with every result rounded."""
    if name == "int8":
        return {**_run(folder, manifest, graph, name, gate), "run_by": "onnxruntime on this CPU"}
    emulated = emulate(made)
    written = write_graph(emulated, folder, _CHECKED)
    try:
        report = _run(folder, manifest, written, name, gate)
    except ParityError as error:
        inputs = [sample.encoded for sample in gate.samples]
        raise ParityError(f"{error}; {_first_overflow(emulated, name, inputs)}") from None
    finally:
        for file in written.files:
            (folder / file.path).unlink()
    return {**report, "run_by": f"float32 arithmetic, every result rounded to {name}"}


def _first_overflow(emulated: ir.Model, name: Precision, inputs: Sequence[Encoded]) -> str:
    """Say which node is the first to answer more than the type holds."""
    values = rounded_values(emulated)
    largest = HALVES[cast(HalfName, name)].largest
    ranges = record_ranges(emulated, values, inputs, pad_id=0)
    for value in values:
        node = value.producer()
        if node is not None and ranges[str(value.name)] > largest:
            return f"the first value beyond {largest:.4g} is what {node.name} answers; leave {name} out"
    return "no value of the samples lies beyond the type by itself"


def _run(folder: Path, manifest: Manifest, graph: GraphInfo, name: Precision, gate: Gate) -> dict[str, Any]:
    # As the only graph, under the name of the arithmetic that runs it here.
    trial = dataclasses.replace(manifest, graphs={"fp32": graph})
    engine = Engine(Bundle(folder, trial), RuntimeConfig(device="cpu", precision="fp32"))
    report = check(engine, gate.samples, gate.expected, name)
    fewest, found = _FEWEST_NEIGHBOURS.get(name, 0.0), report["neighbour_overlap"]
    if found < fewest and graph.outputs[0].name == "sentence_embedding":  # scores are judged by their correlation
        report["failures"].append(f"of the ten nearest texts {found:.3f} are the same ones, expected {fewest}")
        report["passed"] = False
    return report
