"""Exports kept by checkpoint and options: made once, then found again without loading torch."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

from ..runtime.bundle import is_bundle
from .errors import ExportError
from .request import ExportRequest
from .source import locate

# The door: without them nothing can be exported, which is better known before a download than after.
for _name in ("torch", "transformers", "optimum", "onnx_ir", "onnxscript"):
    if importlib.util.find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)


def cached_bundle(model: str, cache: Path, *, reporter: Any = None, **options: Any) -> Path:
    """Export a model into the cache unless the same export is there already.

    Args:
        model: checkpoint folder or Hub id.
        cache: root of the cache.
        reporter: shows the steps of an export (``pipeline.Reporter``).
        options: fields of ``ExportRequest``.

    Returns:
        The bundle's folder.

    Raises:
        PoolExportError: as ``export_model``.
    """
    request = ExportRequest(model=model, **options)
    folder, revision = locate(request)
    name = model if revision else folder.resolve().name
    target = cache / f"{name.replace('/', '--')}-{_fingerprint(folder, revision, request)}"
    if not is_bundle(target):
        from .pipeline import export_model

        try:
            # Pinned: a branch that moves meanwhile must not be kept under the older commit's key.
            export_model(dataclasses.replace(request, output=target, revision=revision or None), reporter)
        except ExportError:
            if not is_bundle(target):  # else another process was faster
                raise
    return target


def _fingerprint(folder: Path, revision: str, request: ExportRequest) -> str:
    """Key of an export: the checkpoint's identity, the options, and this version."""
    identity: Any = revision
    if not identity:
        entries = sorted(path for path in folder.rglob("*") if path.is_file())
        identity = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in entries]
    options = {**dataclasses.asdict(request), "model": folder.resolve().name}
    options["score_template"] = request.score_template_text()  # a file may change under its name
    version = importlib.metadata.version("pool-export")
    text = json.dumps([identity, options, version], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
