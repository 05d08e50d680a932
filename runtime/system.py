"""What this process may use of the machine: cores by affinity and container quota."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


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


def _ceil_div(value: int, by: int) -> int:
    return max(1, -(-value // by))
