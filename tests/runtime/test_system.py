from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pool_export.runtime import system


@pytest.fixture(autouse=True)
def _eight_cores_and_no_cgroup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(system, "_CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(system, "_CGROUP_V1", tmp_path / "cpu")
    monkeypatch.setattr(system, "_CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(system, "_OWN_CGROUP", tmp_path / "own")


def write_v1(folder: Path, quota: str, period: str) -> None:
    (folder / "cpu").mkdir()
    (folder / "cpu/cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu/cpu.cfs_period_us").write_text(period)


def test_without_a_container_the_affinity_counts():
    assert system.available_cpus() == 8


def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert system.available_cpus() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert system.available_cpus() == 1


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),  # rounded up: a thread more is better than a core idle
        ("10000 100000\n", 1),
        ("1600000 100000\n", 8),  # more than there is
    ],
)
def test_a_cgroup_2_quota_bounds_the_cores(tmp_path: Path, quota: str, expected: int):
    (tmp_path / "cpu.max").write_text(quota)
    assert system.available_cpus() == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("300000", 3), ("250000", 3), ("1000", 1)])
def test_a_cgroup_1_quota_bounds_the_cores(tmp_path: Path, quota: str, expected: int):
    write_v1(tmp_path, quota, "100000")
    assert system.available_cpus() == expected


def test_cgroup_2_comes_before_cgroup_1(tmp_path: Path):
    (tmp_path / "cpu.max").write_text("200000 100000")
    write_v1(tmp_path, "500000", "100000")
    assert system.available_cpus() == 2


@pytest.mark.parametrize("content", ["", "what", "a b", "100000", "100000 0"])
def test_an_unreadable_quota_is_no_quota(tmp_path: Path, content: str):
    (tmp_path / "cpu.max").write_text(content)
    assert system.available_cpus() == 8


def test_without_a_memory_limit_there_is_none(tmp_path: Path):
    assert system.memory_limit() is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "own").write_text("0::/\n")
    assert system.memory_limit() is None


def test_the_containers_memory_limit_is_found(tmp_path: Path):
    (tmp_path / "memory.max").write_text("2147483648\n")
    assert system.memory_limit() == 2**31


def test_the_lowest_limit_on_the_way_to_the_process_holds(tmp_path: Path):
    (tmp_path / "own").write_text("1:name=x:/other\n0::/system.slice/unit.service\n")
    (tmp_path / "system.slice/unit.service").mkdir(parents=True)
    (tmp_path / "system.slice/memory.max").write_text("4000\n")
    (tmp_path / "system.slice/unit.service/memory.max").write_text("3000\n")
    assert system.memory_limit() == 3000
    (tmp_path / "system.slice/memory.max").write_text("2000\n")
    assert system.memory_limit() == 2000


@pytest.mark.parametrize(("text", "expected"), [("1073741824", 2**30), ("9223372036854771712", None)])
def test_cgroup_1_has_a_memory_limit_too(tmp_path: Path, text: str, expected: int | None):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text(text)
    assert system.memory_limit() == expected


def test_large_blocks_go_back_however_large_the_ones_before_were():
    script = """
import ctypes, re
from pathlib import Path
from pool_export.runtime.system import return_large_blocks

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def mapped():  # bytes in blocks that are mapped by themselves
    class Info(ctypes.Structure):
        _fields_ = [(n, ctypes.c_size_t) for n in "arena ordblks smblks hblks hblkhd a b c d e".split()]
    libc.mallinfo2.restype = Info
    return libc.mallinfo2().hblkhd

def is_mapped(size):
    before = mapped(); block = libc.malloc(size); after = mapped(); libc.free(block)
    return after > before

if SET:
    assert return_large_blocks()
libc.free(libc.malloc(16 << 20))  # what raises the threshold
print(is_mapped(2 << 20))
"""

    def run(is_set: bool) -> str:
        text = script.replace("SET", str(is_set))
        return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.strip()

    assert (run(True), run(False)) == ("True", "False")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_free_pages_between_blocks_in_use_go_back():
    """In a process of its own, whose heap holds nothing else."""
    script = """
import ctypes
from pool_export.runtime.memory import resident
from pool_export.runtime.system import return_free_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
blocks = [libc.malloc(64 << 10) for _ in range(1600)]
for block in blocks:
    ctypes.memset(block, 1, 64 << 10)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking
    libc.free(block)
before = resident()
assert return_free_memory()
print((before - resident()) >> 20)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(found) > 80  # of 100 MiB
