"""Find the ONNX files of an existing export, in a folder or on the Hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import SourceError
from ..request import ExportRequest
from ..source import locate, snapshot

# Where hosts keep the graph, best first: optimum, transformers.js and sentence-transformers, then fastembed's
# repositories. Two files in one row are a question to the user.
GRAPH_NAMES: tuple[tuple[str, ...], ...] = (
    ("onnx/model.onnx", "model.onnx"),
    ("onnx/model_optimized.onnx", "model_optimized.onnx"),
)

# Precision -> what follows the float graph's stem, as transformers.js and optimum name the files; the first wins.
SIBLINGS: dict[str, tuple[str, ...]] = {"fp16": ("_fp16",), "int8": ("_int8", "_quantized")}

_SIDE_FILES = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "README.md",
    "*_Dense/*.safetensors",
    "*_LayerNorm/*.safetensors",
)


@dataclass(frozen=True)
class GraphFiles:
    """The graph to adopt and what lies beside it in other precisions."""

    main: Path
    siblings: dict[str, Path]


def locate_export(request: ExportRequest, graph: str | None) -> tuple[Path, str]:
    """Find the folder and, for a Hub id, its commit; only what is needed is downloaded.

    Raises:
        SourceError: nothing there, or ``graph`` leads out of the folder.
    """
    if graph is not None:
        _require_relative(graph)
    names = [graph] if graph else [name for row in GRAPH_NAMES for name in row]
    # `*` after a name: external data is `model.onnx_data`, `model.onnx_data_1` or `model.onnx.data`.
    patterns = [*_SIDE_FILES, *(f"{name}*" for name in names)]
    patterns += [f"{PurePosixPath(name).with_suffix('')}{end}.onnx*" for name in names for end in _endings()]
    return locate(request, lambda wanted: snapshot(wanted, patterns, ["openvino/*"]))


def find_graphs(folder: Path, graph: str | None) -> GraphFiles:
    """Choose the graph, by name or by the list of known names, and its siblings.

    Raises:
        SourceError: no ONNX file, several that could be meant, or a ``graph`` that is not there.
    """
    main = _named(folder, graph) if graph else _known(folder)
    return GraphFiles(main, dict(_siblings(main)))


def _named(folder: Path, graph: str) -> Path:
    _require_relative(graph)
    if not (folder / graph).is_file():
        raise SourceError(f"{folder} has no {graph}; {_listing(folder)}")
    return folder / graph


def _known(folder: Path) -> Path:
    for row in GRAPH_NAMES:
        found = [name for name in row if (folder / name).is_file()]
        if len(found) > 1:
            raise SourceError(f"{folder} has {' and '.join(found)}; choose one with --graph")
        if found:
            return folder / found[0]
    others = _onnx_files(folder)
    if len(others) == 1:
        return folder / others[0]
    expected = " or ".join(name for row in GRAPH_NAMES for name in row)
    choice = "; choose one with --graph" if others else ""
    raise SourceError(f"{folder} has no {expected}; {_listing(folder)}{choice}")


def _siblings(main: Path) -> Iterable[tuple[str, Path]]:
    for precision, endings in SIBLINGS.items():
        for ending in endings:
            path = main.with_name(f"{main.stem}{ending}.onnx")
            if path.is_file():
                yield precision, path
                break


def _endings() -> list[str]:
    return [ending for endings in SIBLINGS.values() for ending in endings]


def _onnx_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx") if path.is_file())


def _listing(folder: Path) -> str:
    found = _onnx_files(folder)
    if not found:
        return "it holds no *.onnx file; to export a checkpoint use: pool-export MODEL"
    return f"it holds {', '.join(found)}"


def _require_relative(graph: str) -> None:
    pure = PurePosixPath(graph)
    if pure.is_absolute() or ".." in pure.parts or pure.suffix != ".onnx":
        raise SourceError(f"--graph must be the path of an .onnx file inside the folder, got {graph!r}")
