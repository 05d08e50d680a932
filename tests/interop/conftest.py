"""The bundles, the consumers' environments, and the table at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .consumers import CONSUMERS, KINDS, Kind
from .report import load, rows

RESULTS = Path(__file__).resolve().parents[2] / "build" / "interop" / "results"


@pytest.fixture(scope="session")
def bundle_of(minilm_bundle: Path, tiny_bundle: Callable[..., Path]) -> Callable[[Kind], Path]:
    """Return `bundle_of(kind)`: a bundle as the exporter writes it, exported once a run."""
    makers: dict[Kind, Callable[[], Path]] = {
        "embed": lambda: minilm_bundle,
        "classify": lambda: tiny_bundle("bert", "sequence_3"),
        "cross-encoder": lambda: tiny_bundle("bert", "sequence_1"),
    }
    return lambda kind: makers[kind]()


@pytest.fixture
def ask(checkout: Path, tmp_path: Path) -> Callable[[str, Kind, Path], dict[str, Any]]:
    """Return `ask(consumer, kind, bundle)`: its answers, out of its own environment; without a network."""

    def run(name: str, kind: Kind, bundle: Path) -> dict[str, Any]:
        consumer = CONSUMERS[name]
        folder = checkout / "build" / consumer.environment
        if not folder.is_dir():
            pytest.skip(f"no environment {folder}; `make interop` makes it")
        if consumer.worker.endswith(".mjs"):
            shutil.copy(checkout / "tests" / "interop" / "workers" / consumer.worker, folder)
        output = tmp_path / "answers.json"
        done = subprocess.run(
            [*consumer.command(checkout), name, kind, str(bundle), str(output)],
            capture_output=True, text=True, check=False, timeout=600, cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONSAFEPATH": ""},
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(done.stderr[-4000:])
        answers: dict[str, Any] = json.loads(output.read_text("utf-8"))
        return answers

    return run


@pytest.fixture
def store() -> Callable[[str, Kind, dict[str, Any]], None]:
    """Return `store(consumer, kind, verdict)`: what the table and the page are made of."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    return lambda name, kind, verdict: (RESULTS / f"{name}-{kind}.json").write_text(json.dumps(verdict), "utf-8")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, where a consumer was asked in this run."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    if not any("interop" in report.keywords and "test_interop.py" in report.nodeid for report in reports):
        return
    terminalreporter.section("bundles in other people's hands")
    for name, *verdicts in rows(load(RESULTS)):
        terminalreporter.write_line(name)
        for kind, verdict in zip(KINDS, verdicts, strict=True):
            terminalreporter.write_line(f"  {kind:14} {verdict}")
