"""``pool-export engine``: a TensorRT engine for an existing bundle, on the machine where it is to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..export.engines.options import PRECISIONS, EngineOptions
from ..poolers.errors import ConfigError
from ..runtime.bundle import open_bundle
from .options import debug_option, declared, given, json_option
from .output import StepReporter, print_json

if TYPE_CHECKING:
    from ..export.engines.build import Built
    from ..runtime.manifest import Manifest


@click.command("engine")
@click.argument("bundle", type=click.Path(path_type=Path))
@declared(EngineOptions, env=False)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Which of the bundle's graphs; its types are the engine's arithmetic.",
)
@click.option("--force", is_flag=True, help="Build it again, even where the same engine is there.")
@json_option
@debug_option
def engine_command(bundle: Path, precision: str, force: bool, as_json: bool, **options: Any) -> None:
    """Build a TensorRT engine of one of BUNDLE's graphs, into BUNDLE/engines.

    A bundle is portable, an engine is for one library version and its GPUs: build it where it is to run. Without torch.

    \b
    Examples:
      pool-export engine ./bundle --target tensorrt --precision fp16 --timing-cache ./timings
      pool-export engine ./bundle --target tensorrt-rtx --compute-capability 8.9
      pool-export engine ./bundle --target tensorrt --profiles 1x1:1x64:1x512,1x1:64x128:64x512
    """
    from ..export.engines.build import build_engine

    if options["target"] is None:
        raise click.UsageError("Missing option '--target'.")
    try:
        chosen = EngineOptions(**given(options))
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    opened = open_bundle(bundle)
    built = build_engine(bundle, opened.manifest, precision, chosen, StepReporter(), force=force)  # type: ignore[arg-type]
    if as_json:
        print_json({"bundle": str(bundle), "reused": built.reused, "engine": built.record})
    else:
        click.echo(f"{bundle}: {sentence(built)}")


def engine_rows(folder: Path, manifest: Manifest) -> list[tuple[object, ...]]:
    """Rows of `inspect`: the engines beside the graphs, and whether they are still of them."""
    from ..runtime.engines.record import FOLDER, graph_hashes, read_engine_record

    rows: list[tuple[object, ...]] = []
    for path in sorted((folder / FOLDER).glob("*.json")):
        record = read_engine_record(path)
        if record is None:
            rows.append((path.stem, "", "", "", "", "its description is damaged"))
            continue
        key, graph = record.key, manifest.graphs.get(record.key.precision)
        fresh = graph is not None and key.graph == graph_hashes(graph)
        gpus = ", ".join(key.compute_capabilities) or "8.0 and newer"
        shapes = ", ".join(map(str, key.profiles))
        note = "" if fresh else "of another graph: build it again"
        rows.append((path.stem, f"{record.plan.size / 1e6:.1f} MB", key.library_version, gpus, shapes, note))
    return rows


def sentence(built: Built) -> str:
    """What became of an engine, in one line."""
    key, plan = built.record.key, built.record.plan
    gpus = ", ".join(key.compute_capabilities) or "8.0 and newer"
    made = "is up to date" if built.reused else f"{plan.size / 1e6:.1f} MB, built in {built.record.seconds:.0f} s"
    shapes = ", ".join(map(str, key.profiles))
    return f"{plan.path} {made} (compute capability {gpus}; profiles {shapes})"
