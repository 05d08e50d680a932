"""What this process may use of the machine: cores by affinity and container quota, memory by the container's limit."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
# cgroup 1 writes "no limit" as a number near 2^63.
_NO_LIMIT = 2**60

# mallopt(3); bytes from which a block is mapped by itself, so that freeing it gives it back at once.
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK = 2**20


def available_cpus() -> int:
    """Cores this process may use, at least 1.

    onnxruntime sizes its pool from the host's cores and ignores the container; a pool larger than
    the quota makes every thread wait (AudioMuse-AI#787, onnxruntime docs on thread management).
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _cgroup_quota()
    return max(1, affinity if quota is None else min(affinity, quota))


def _cgroup_quota() -> int | None:
    """Whole cores of the container's CPU quota (rounded up), or ``None`` without one."""
    try:
        limit, period = _CGROUP_V2.read_text().split()
        return None if limit == "max" else _ceil_div(int(limit), int(period))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        quota = int((_CGROUP_V1 / "cpu.cfs_quota_us").read_text())
        return _ceil_div(quota, int((_CGROUP_V1 / "cpu.cfs_period_us").read_text())) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def memory_limit() -> int | None:
    """Bytes that the container, or the systemd unit, lets its processes have; ``None`` without a limit.

    The lowest limit from the process's own cgroup upwards holds (kernel docs, cgroup-v2 `memory.max`; in a container
    the root of what is mounted is its own cgroup).
    """
    folders = [_CGROUP_ROOT]
    try:
        own = next(line for line in _OWN_CGROUP.read_text().splitlines() if line.startswith("0::"))
        for part in own.removeprefix("0::").strip("/").split("/"):
            folders.append(folders[-1] / part)
    except (OSError, StopIteration):
        pass
    files = [folder / "memory.max" for folder in folders] + [_CGROUP_ROOT / "memory/memory.limit_in_bytes"]
    limits = [limit for limit in map(_read_limit, files) if limit is not None]
    return min(limits, default=None)


def _read_limit(file: Path) -> int | None:
    try:
        limit = int(file.read_text())
    except (OSError, ValueError):  # no such file, or the word "max"
        return None
    return limit if limit < _NO_LIMIT else None


def _ceil_div(value: int, by: int) -> int:
    return max(1, -(-value // by))


def return_large_blocks() -> bool:
    """Make the C library give large freed blocks back to the system, for the whole process.

    glibc raises its threshold for mapped blocks to the largest one freed so far (mallopt(3), "dynamic mmap threshold"),
    so after the first batches every tensor comes from heaps that fragment and never shrink: the memory of a loaded
    server crept up for as long as it was watched. A threshold that is set stays.

    Returns:
        Whether it was set; false where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK) == 1


def return_free_memory() -> bool:
    """Make the C library give back the free pages of its heaps, for the whole process (malloc_trim(3)).

    Returns:
        Whether any went back; false where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and trim(0) == 1
