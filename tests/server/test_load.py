"""The load test itself, small: many clients at once get complete, right answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_many_clients_at_once_are_answered_as_the_offline_engine_answers(
    live: Any, minilm_bundle: Path, checkout: Path, tmp_path: Path
) -> None:
    target = tmp_path / "load.json"
    command = [sys.executable, str(checkout / "benchmarks/load.py"), str(minilm_bundle), "--url", live.url]
    small = ["--model", "minilm", "--clients", "16", "--seconds", "1", "--rounds", "1", "--texts", "24"]
    done = subprocess.run([*command, *small, "--json", str(target)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(target.read_text())
    assert measured["faults"] == []
    assert set(measured["statuses"]) == {"200"}
    assert len(measured["requests"]) >= 16
    assert measured["compared"]["answers"] >= 1
