"""What is measured on, and what processes take of it (Linux's /proc)."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def about(packages: Iterable[str]) -> dict[str, Any]:
    """Date, machine, and versions of the packages (those that are installed)."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {cores} cores",
        "cpu": cpu(),
        "versions": found,
    }


def cpu() -> dict[str, Any]:
    """The processor's name, and which of the instructions that matter for matrices it has."""
    text = Path("/proc/cpuinfo").read_text("utf-8")
    lines = [line.partition(":") for line in text.splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = set(fields.get("flags", "").split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {"name": fields.get("model name", "unknown"), "has": [flag for flag in wanted if flag in flags]}


def rss_mb(pid: int) -> float:
    """Resident memory of a process now; 0 of none."""
    if not pid:
        return 0.0
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15 of `stat`); 0 of none."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss_mb(session: int) -> float:
    """Sum of the peaks of all processes of a session (proc(5), `VmHWM`): a contender may have several."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            peak = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
        except (OSError, StopIteration, ValueError):
            continue  # gone meanwhile, or a zombie
        total += int(peak.split()[1]) / 1024
    return total


def available_gb() -> float:
    """Memory that a new process may take without driving others out."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 2**20
