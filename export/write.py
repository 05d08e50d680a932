"""Write a bundle atomically: staged beside the target, synced, then renamed into place."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from ..runtime.bundle import is_bundle, sha256
from ..runtime.manifest import FileInfo, GraphInfo, TensorInfo
from .errors import ExportError
from .passes import applied_passes
from .quiet import quiet

# One protobuf holds 2 GiB; initializers beyond this go to `model.onnx_data`, the name that
# transformers.js, optimum and sentence-transformers look for.
EXTERNAL_DATA_THRESHOLD = 1_800_000_000

_DTYPES = {ir.DataType.FLOAT: "float32", ir.DataType.INT64: "int64", ir.DataType.STRING: "string"}


def check_target(target: Path, force: bool) -> None:
    """Refuse a target that must not be replaced, before any work is done.

    Raises:
        ExportError: it exists and ``force`` is off, or it is not a bundle (never replaced).
    """
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and not any(target.iterdir()):
        return
    if not is_bundle(target):
        raise ExportError(f"{target} exists and is not a bundle; it is never replaced, choose another folder with -o")
    if not force:
        raise ExportError(f"{target} already holds a bundle; pass --force to replace it, or choose another with -o")


@contextlib.contextmanager
def staged(target: Path, force: bool) -> Iterator[Path]:
    """Yield a folder to fill; it becomes ``target`` if the block succeeds and vanishes if not.

    The old bundle is moved aside only when the new one is complete, and deleted last.

    Raises:
        ExportError: the target may not be replaced, or the disk refused (full, read-only).
    """
    check_target(target, force)
    target = target.resolve()  # a link stays a link; what it points to is replaced
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise ExportError(f"cannot write beside {target}: {error.strerror}") from error
    try:
        yield staging
        _sync(staging)
        check_target(target, force)
        _publish(staging, target)
    except OSError as error:
        raise ExportError(f"writing {target} failed: {error.strerror or error}; nothing was left behind") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_graph(program: ir.Model, folder: Path, name: str = "model") -> GraphInfo:
    """Save a graph under ``onnx/`` and describe it for the manifest.

    Args:
        program: the graph, with contract names.
        folder: bundle folder.
        name: file stem; siblings follow the Hub's names (``model_fp16`` …).
    """
    (folder / "onnx").mkdir(exist_ok=True)
    files = save_graph(program, folder / "onnx" / f"{name}.onnx")
    return GraphInfo(
        files=tuple(file_info(folder, item) for item in files),
        opset=program.opset_imports[""],
        inputs=tuple(_tensor(value) for value in program.graph.inputs),
        outputs=tuple(_tensor(value) for value in program.graph.outputs),
        passes=applied_passes(program),
    )


def save_graph(program: ir.Model, path: Path) -> list[Path]:
    """Save a graph; return its files, the model first, then its external data where it has any."""
    size = sum(value.const_value.nbytes for value in program.graph.initializers.values() if value.const_value)
    external = path.with_suffix(".onnx_data") if size > EXTERNAL_DATA_THRESHOLD else None
    with quiet():
        ir.save(program, path, external_data=external.name if external is not None else None)
    return [path] if external is None else [path, external]


def file_info(folder: Path, path: Path) -> FileInfo:
    """Describe a file of the bundle: relative path, size, hash."""
    return FileInfo(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=sha256(path))


def _tensor(value: ir.Value) -> TensorInfo:
    shape = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape or ())
    return TensorInfo(name=str(value.name), dtype=_DTYPES[ir.DataType(value.dtype or 0)], shape=shape)


def _publish(staging: Path, target: Path) -> None:
    # mkdtemp makes a private folder; a bundle is meant to be read like any other.
    staging.chmod(0o755)
    if not target.exists() or not any(target.iterdir()):
        os.replace(staging, target)
    else:
        retired = target.with_name(f".{target.name}.{os.getpid()}.old")
        os.replace(target, retired)
        try:
            os.replace(staging, target)
        except OSError:
            os.replace(retired, target)
            raise
        shutil.rmtree(retired, ignore_errors=True)
    _sync_folder(target.parent)


def _sync(folder: Path) -> None:
    """Flush every file, so that a crash after the rename cannot leave empty ones."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
