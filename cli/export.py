"""``pool-export MODEL``: export, verify, write."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..export.engines.options import EngineOptions
from ..export.request import ExportRequest
from ..poolers.errors import ConfigError
from ..runtime.options import flag_name, option_fields
from .engine import sentence
from .errors import naming_extra
from .options import debug_option, declared, given, json_option
from .output import StepReporter, note, print_json, print_table

if TYPE_CHECKING:
    from ..export.pipeline import ExportResult


@click.command("export")
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Bundle folder to write.  [default: NAME-bundle]")
@declared(ExportRequest, env=False)
@declared(EngineOptions, env=False)
@json_option
@debug_option
def export_command(model: str, output: Path | None, as_json: bool, **options: Any) -> None:
    """Export MODEL (a checkpoint folder or a Hub id) into a bundle.

    The graph holds backbone and pooling head. It is compared with the original model before
    anything is written; a graph that disagrees is not written.

    \b
    Examples:
      pool-export intfloat/e5-small
      pool-export ./my-model --convert classify --pooler-config '{"pooling_type": "LAST"}' -o ./bundle
      pool-export ./my-model --precision int8            # beside float32; fp16, bf16 for GPUs
      pool-export ./my-model --precision fp16 --target tensorrt-rtx --compute-capability 8.9
      pool-export ./my-model --hf-overrides '{"matryoshka_dimensions": [64, 128]}' --json
    """
    try:
        chosen = given(options)
        engine = _engine_options(chosen)
        request = ExportRequest(model=model, output=output, engine=engine, **chosen)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    started = time.monotonic()
    result = run_export(request)
    seconds = time.monotonic() - started
    for words in result.notes:
        note(f"Note: {words}")
    if as_json:
        print_json(summary(result, seconds))
    else:
        show_result(result, seconds)


def _engine_options(options: dict[str, Any]) -> EngineOptions:
    """Take the options of an engine out of all that were given.

    Raises:
        ConfigError: they make no sense together, or there is no target.
    """
    flags = {item.name: flag_name(item, info) for item, info in option_fields(EngineOptions)}
    found = {name: options.pop(name) for name in flags if name in options}
    if found and "target" not in found:
        raise ConfigError(f"{flags[next(iter(found))]} is of an engine, and there is no --target")
    return EngineOptions(**found)


def run_export(request: ExportRequest) -> ExportResult:
    """Export with progress on stderr; the heavy libraries are imported here."""
    reporter = StepReporter()
    with reporter.step("Starting torch and transformers"), naming_extra("export", "torch"):
        from ..export.pipeline import export_model
    # Libraries print too, with --debug even visibly; stdout is for the result alone.
    with contextlib.redirect_stdout(sys.stderr):
        return export_model(request, reporter)


def _parity(report: dict[str, Any]) -> dict[str, Any]:
    """What a script wants to know of a graph's parity report."""
    from .inspect import worst_figures

    worst = worst_figures(report)
    kept = ("passed", "samples", "batch_invariance", "neighbour_overlap", "failures", "run_by")
    return {**{name: report[name] for name in kept if name in report}, **(worst._asdict() if worst else {})}


def summary(result: ExportResult, seconds: float) -> dict[str, Any]:
    """What ``--json`` prints of an export."""
    manifest = result.manifest
    return {
        "bundle": str(result.folder),
        "source": manifest.source,
        "convert": manifest.pooling.convert,
        "tasks": manifest.tasks,
        "pooling": manifest.pooling,
        "tokenizer": manifest.tokenizer,
        "graphs": sorted(manifest.graphs),
        "parity": _parity(result.report),
        "precisions": {name: _parity(graph.parity) for name, graph in manifest.graphs.items()},
        "engines": [built.record for built in result.engines],
        "seconds": round(seconds, 1),
    }


def show_result(result: ExportResult, seconds: float) -> None:
    """Print the head's settings and one sentence about the bundle."""
    from .inspect import FIDELITY, SETTINGS, fidelity_rows, pooling_rows

    manifest, max_abs = result.manifest, _parity(result.report)["max_abs"]
    print_table("", SETTINGS, pooling_rows(manifest))
    if len(manifest.graphs) > 1:
        print_table("Precisions", FIDELITY, fidelity_rows(manifest))
    verdict = "agrees with" if result.report["passed"] else "DISAGREES with"
    reference = result.report.get("reference", "the reference")
    click.echo(
        f"{result.folder}: {manifest.pooling.convert} bundle, {verdict} {reference} on "
        f"{result.report['samples']} inputs (max-abs {max_abs:.1e}), {seconds:.0f} s"
    )
    for built in result.engines:
        click.echo(sentence(built))
