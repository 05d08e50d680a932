"""The worker's keeper: what it says when there is no answer, and that nothing outlives it. Without vLLM."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from . import peer as module
from .peer import Peer

# Answers the first line with the id of a process it started, and nothing after that.
SILENT = """
import json, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(json.dumps({"vllm": str(child.pid)}), flush=True)
time.sleep(600)
"""


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    script = tmp_path / "silent.py"
    script.write_text(SILENT, "utf-8")
    monkeypatch.setattr(module, "WORKER", script)
    monkeypatch.setattr(module, "CASE_SECONDS", 0.2)
    return Peer(Path(sys.executable), tmp_path / "work")


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ends(pid: int) -> bool:
    """Whether a process is gone within ten seconds: a signal takes its time on a busy machine."""
    until = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_running(pid)


def test_closing_ends_what_the_worker_started(silent: Peer) -> None:
    child = int(silent.version)
    assert is_running(child)
    silent.close()
    assert not silent.is_alive()
    assert ends(child)


def test_no_answer_in_time_is_an_error_and_the_end(silent: Peer) -> None:
    with pytest.raises(RuntimeError, match="gave no answer"):
        silent.answer("case", {"requests": {}})
    assert not silent.is_alive()
    assert ends(int(silent.version))


def test_an_interpreter_without_vllm_is_named_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"worker ended; see .*worker\.log"):
        Peer(Path(sys.executable), tmp_path / "work")
    assert "No module named 'vllm'" in (tmp_path / "work" / "worker.log").read_text("utf-8")
