"""Errors of the exporter; the tree's root is in ``poolers/errors.py``.

PoolExportError
├── SourceError      the model cannot be found, read or loaded
├── ExportError      the graph cannot be made or the bundle not written
└── ParityError      the graph disagrees with the reference; nothing was written
"""

from __future__ import annotations

from ..poolers.errors import PoolExportError


class SourceError(PoolExportError):
    """The model's folder, Hub repository, weights or tokenizer cannot be used."""


class ExportError(PoolExportError):
    """Tracing or writing failed."""


class ParityError(PoolExportError):
    """The exported graph missed the parity bars; the message says where and by how much."""
