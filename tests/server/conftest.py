"""A live server a test process: `pool-export serve` in a process of its own, with a bundle of every kind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.llm import LLM

from .browsing import browser, open_page  # noqa: F401  (fixtures of the page's tests)

_STARTUP = 60.0


@dataclass
class LiveServer:
    """A running `pool-export serve`."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LiveServer]]:
    """Return `start(*models, **environment)`: serve on a free port, wait for the announcement; stopped at the end.

    A `program` is Python that ends in `main()`, for servers that have to misbehave; without `wait`, the announcement
    is not waited for.
    """
    running: list[LiveServer] = []

    def start(
        *models: str, options: tuple[str, ...] = (), program: str = "", wait: bool = True, **environment: str
    ) -> LiveServer:
        log = tmp_path_factory.mktemp("server") / "stderr.txt"
        python = ["-c", program] if program else ["-m", "pool_export"]
        command = [sys.executable, *python, "serve", *models, "--port", "0", *options]
        with log.open("w") as stream:
            process = subprocess.Popen(
                command,
                stderr=stream,
                stdout=stream,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )
        server = LiveServer(process, _announced(process, log) if wait else "", log)
        running.append(server)
        return server

    yield start
    for server in running:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def _announced(process: subprocess.Popen[str], log: Path) -> str:
    until = time.monotonic() + _STARTUP
    while time.monotonic() < until:
        if found := re.search(r"serving on (http://\S+)", log.read_text()):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def served_bundles(minilm_bundle: Path, tiny_bundle: Callable[..., Path]) -> dict[str, Path]:
    """Return the bundles of the live server by the name they are served under."""
    return {
        "minilm": minilm_bundle,
        "cross-encoder": tiny_bundle("bert", "sequence_1"),
        "classifier": tiny_bundle("bert", "sequence_3"),
        "token-classifier": tiny_bundle("bert", "token_5"),
        "matryoshka": tiny_bundle("qwen3", export={"hf_overrides": {"matryoshka_dimensions": [8, 16]}}),
        "reward": tiny_bundle("qwen3", "sequence_1", export={"convert": "reward"}),
    }


@pytest.fixture(scope="session")
def live(start_server: Callable[..., LiveServer], served_bundles: dict[str, Path]) -> LiveServer:
    """Return one server with every bundle; tests must leave it as it was."""
    return start_server(*(f"{name}={folder}" for name, folder in served_bundles.items()), options=("--threads", "1"))


@pytest.fixture(scope="session")
def offline() -> Callable[[Path], LLM]:
    """Return `offline(bundle)`: the offline engine over a bundle, opened once, to compare a server's answers with."""
    return cache(LLM)


@pytest.fixture(scope="session")
def open_app() -> Iterator[Callable[..., Any]]:
    """Return `open_app(*models, **options)`: a client of the application in this process, with real engines."""
    from starlette.testclient import TestClient

    from pool_export.export.reporting import SilentReporter
    from pool_export.runtime.server import launch
    from pool_export.runtime.server.app import make_app

    states: list[Any] = []

    def open_one(*models: str, **options: Any) -> TestClient:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "serve", lambda state, listener, *_: (states.append(state), listener.close()))
            options = {"listen_port": 0, **options}
            launch.launch(models, options, {"device": "cpu", "threads": 1}, SilentReporter(), lambda line: None)
        return TestClient(make_app(states[-1]))

    yield open_one
    for state in states:
        state.models.close()
        state.workers.shutdown()
        state.attendants.shutdown()
