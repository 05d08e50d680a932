"""vLLM in its own environment, beside ours: the worker, the checkpoints, and where the figures go."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .cases import Case
from .peer import Peer

Get = Callable[[], Peer]


@pytest.fixture(scope="session")
def parity_folder(checkout: Path) -> Path:
    """Return the folder of figures, caches and logs."""
    return checkout / "build" / "parity"


@pytest.fixture(scope="session")
def peer(checkout: Path, parity_folder: Path) -> Iterator[Get]:
    """Return `peer()`: the worker of this test process, started at its first use and again if it is gone."""
    stated = os.environ.get("POOL_EXPORT_PARITY_PYTHON")
    python = Path(stated) if stated else checkout / "build" / "parity-env" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment with vLLM ({python}); `make parity` makes it")
    running: list[Peer] = []

    def get() -> Peer:
        if not running or not running[-1].is_alive():
            running.append(Peer(python, parity_folder / os.environ.get("PYTEST_XDIST_WORKER", "main")))
        return running[-1]

    yield get
    for worker in running:
        worker.close()


@pytest.fixture(scope="session")
def checkpoint(shared_folder: Path) -> Callable[[Case], Path]:
    """Return `checkpoint(case)`: its folder, written once a run; rows of the same make share it."""
    from filelock import FileLock

    def write(case: Case) -> Path:
        key = hashlib.sha256(case.checkpoint_key().encode()).hexdigest()[:12]
        folder = shared_folder / "parity" / f"{case.family}-{case.head}-{key}"
        folder.parent.mkdir(exist_ok=True)
        done = folder.with_name(folder.name + ".done")
        with FileLock(str(folder) + ".lock"):
            if not done.exists():
                case.write(folder)
                done.touch()
        return folder

    return write


@pytest.fixture(autouse=True)
def _shared_cache(_own_cache: None, shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rows that differ in vLLM's active task share one export of ours."""
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(shared_folder / "parity-cache"))


@pytest.fixture(scope="session")
def store(parity_folder: Path) -> Callable[[str, object], None]:
    """Return `store(case, figures)`: what `report.py` makes docs/parity.md of."""
    folder = parity_folder / "results"
    folder.mkdir(parents=True, exist_ok=True)
    return lambda case, figures: (folder / f"{case}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
