"""The user's cache: exported bundles, and small records of what was measured on this host."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from .files import replacing

T = TypeVar("T")

_log = logging.getLogger("pool_export.runtime")
_CPUINFO = Path("/proc/cpuinfo")


def cache_folder() -> Path:
    """Where it is: ``POOL_EXPORT_CACHE``, else the user's cache folder."""
    stated = os.environ.get("POOL_EXPORT_CACHE")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pool_export"


@cache
def host() -> str:
    """What decides how a graph computes here: the system, the processor, and what it can do."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    found = [next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags")]
    return "\n".join([platform.system(), platform.machine(), *found])


def record_path(kind: str, *parts: str) -> Path:
    """The file of a record: ``kind``, and everything that it holds for."""
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return cache_folder() / kind / f"{key}.json"


def read_record(path: Path, kind: type[T]) -> T | None:
    """Read a record; one that is missing or damaged was never made."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def write_record(path: Path, record: object) -> bool:
    """Write a record whole or not at all; return whether it could be written. A cache that cannot be is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(record), indent=2))
    except OSError as error:
        _log.info("%s cannot be written: %s", path, error.strerror)
        return False
    return True
