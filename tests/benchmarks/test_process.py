from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pool_export.benchmarks.process import ContenderError, Process

STARTER = """
import signal, sys
from pathlib import Path
from pool_export.benchmarks.process import Process
process = Process(Path(sys.executable), Path(sys.argv[1]), name="left", threads=1)
process.ask("load", path=sys.argv[2])
print(process._process.pid, flush=True)
signal.pause()
"""


def state(pid: int) -> str:
    """The letter of proc(5): T stands still, Z has ended; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_for(pid: int, states: str) -> str:
    until = time.monotonic() + 20
    while state(pid) not in (*states, "") and time.monotonic() < until:
        time.sleep(0.02)
    return state(pid)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.json"
    path.write_text('["one", "two"]')
    return path


def test_a_worker_answers_stands_still_and_says_what_failed(tmp_path: Path, texts: Path) -> None:
    with Process(Path(sys.executable), tmp_path, name="one", threads=1) as process:
        assert process.ask("load", path=str(texts)) == {"texts": 2}
        assert wait_for(process._process.pid, "T") == "T"
        with pytest.raises(ContenderError, match=r"FileNotFoundError.*at 'load'"):
            process.ask("load", path="nowhere.json")
        assert process.ask("load", path=str(texts)) == {"texts": 2}
        assert process.peak_mb() > 5
    assert state(process._process.pid) == ""


def test_a_worker_that_ends_is_an_error_with_its_status(tmp_path: Path, texts: Path) -> None:
    with Process(Path(sys.executable), tmp_path, name="one", threads=1) as process:
        process.ask("load", path=str(texts))
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(ContenderError, match="ended at 'load' with status -9"):
            process.ask("load", path=str(texts))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_stands_still_does_not_outlive_its_parent(
    how: signal.Signals, tmp_path: Path, texts: Path
) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path), str(texts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert wait_for(pid, "T") == "T"
        parent.send_signal(how)
        parent.wait(timeout=20)
    assert wait_for(pid, "Z") in ("Z", "")
