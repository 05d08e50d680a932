"""Half-precision and quantised files beside the graph: taken along where they meet the bars, named where not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...poolers.errors import PoolExportError
from ...runtime.bundle import open_bundle
from ...runtime.config import RuntimeConfig
from ...runtime.engine import Engine
from ...runtime.manifest import GraphInfo, Manifest
from ..assemble import graph_metadata, write_manifest
from ..errors import ExportError, ParityError
from ..graphs import annotate
from ..oracle import Oracle
from ..samples import Sample
from ..source import Source
from ..verify import verify
from ..write import write_graph
from .original import read_original
from .surgery import adopt_graph
from .tokenizer import valid_id

_NAMES = {"fp16": "model_fp16", "int8": "model_int8"}


def add_siblings(
    folder: Path,
    manifest: Manifest,
    siblings: Mapping[str, Path],
    source: Source,
    oracle: Oracle,
    samples: Sequence[Sample],
) -> tuple[Manifest, list[str]]:
    """Adopt each sibling, compare it with the float original, and keep it if it is close enough.

    Returns:
        The manifest with the graphs that were taken, and one line a sibling.
    """
    notes = []
    for precision, path in siblings.items():
        try:
            graph = _adopt(manifest, precision, path, source, folder)
            trial = dataclasses.replace(manifest, graphs={**manifest.graphs, precision: graph})
            write_manifest(folder, trial)
            report = _compare(folder, precision, oracle, samples)
        except PoolExportError as error:
            _remove(folder, precision)
            notes.append(f"{path.name} is left out: {error}")
            continue
        graph = dataclasses.replace(graph, parity=report)
        manifest = dataclasses.replace(manifest, graphs={**manifest.graphs, precision: graph})
        notes.append(f"{path.name} is taken as the {precision} graph ({_figure(report)})")
    write_manifest(folder, manifest)
    return manifest, notes


def _adopt(manifest: Manifest, precision: str, path: Path, source: Source, folder: Path) -> GraphInfo:
    original = read_original(path)
    if original.precision != precision:
        raise ExportError(f"by its name it is {precision}, its weights are {original.precision}")
    spec, policy = manifest.pooling, manifest.tokenizer
    pad = valid_id((source.files.config.get("pad_token_id"), policy.pad_token_id), policy.vocab_size)
    program = adopt_graph(original, source, spec, pad)
    annotate(program, graph_metadata(source, spec, policy))
    return dataclasses.replace(write_graph(program, folder, _NAMES[precision]), operators=original.operators)


def _compare(folder: Path, precision: str, oracle: Oracle, samples: Sequence[Sample]) -> dict[str, Any]:
    engine = Engine(open_bundle(folder), RuntimeConfig(device="cpu", precision=precision))
    report, _ = verify(oracle, engine, samples)
    report["reference"] = "the original float32 ONNX graph (not torch)"
    failures = report["failures"]
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ParityError(f"it disagrees with the float graph: {failures[0]}{more}")
    return report


def _figure(report: dict[str, Any]) -> str:
    if "score_correlation" in report:
        return f"correlation of the scores {report['score_correlation']:.4f}"
    least = min(figure["min_cosine"] for figures in report["cases"].values() for figure in figures.values())
    return f"min cosine {least:.4f}"


def _remove(folder: Path, precision: str) -> None:
    for path in (folder / "onnx").glob(f"{_NAMES[precision]}.onnx*"):
        path.unlink()
