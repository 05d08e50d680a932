from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pool_export.runtime import cache
from pool_export.runtime.cache import read_record, record_path, write_record


@dataclass(frozen=True)
class Fact:
    name: str
    figures: tuple[float, ...]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path))


def test_a_record_is_read_as_it_was_written(tmp_path: Path):
    path = record_path("facts", "a", "b")
    assert read_record(path, Fact) is None
    assert write_record(path, Fact("x", (0.5, 1.0)))
    assert read_record(path, Fact) == Fact("x", (0.5, 1.0))
    assert list((tmp_path / "facts").iterdir()) == [path]


def test_what_a_record_holds_for_is_its_name():
    names = {record_path(*parts) for parts in (("k", "ab", "c"), ("k", "a", "bc"), ("j", "ab", "c"), ("k", "ab"))}
    assert len(names) == 4
    assert record_path("k", "ab", "c") == record_path("k", "ab", "c")


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b'{"name": 1}', b'{"name": "x", "figures": "y"}'])
def test_a_damaged_record_was_never_made(damage: bytes):
    path = record_path("facts", "a")
    write_record(path, Fact("x", ()))
    path.write_bytes(damage)
    assert read_record(path, Fact) is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path):
    (tmp_path / "facts").write_text("a file where the folder should be")
    assert not write_record(record_path("facts", "a"), Fact("x", ()))


def test_the_host_is_its_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(cache, "_CPUINFO", info)

    def seen(text: str) -> str:
        info.write_text(text)
        cache.host.cache_clear()
        return cache.host()

    try:
        one = seen("processor: 0\nmodel name: A\nflags: avx2\ncpu MHz: 2000\n")
        assert one == seen("processor: 0\nmodel name: A\nflags: avx2\ncpu MHz: 2500\n")
        assert one != seen("processor: 0\nmodel name: A\nflags: avx2 avx512f\n")
        info.unlink()
        cache.host.cache_clear()
        assert cache.host()
    finally:
        cache.host.cache_clear()
