"""From names to a running server: what is checked first, what is said, what a signal does meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.errors import InputError, RuntimeFailure
from pool_export.runtime.server import launch as launching
from pool_export.runtime.server.dispatch import ServerState
from pool_export.runtime.server.launch import launch


class Reporter:
    """Notes the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    @contextmanager
    def step(self, name: str) -> Any:
        self.steps.append(name)
        yield


class Launched:
    """What a launch did, with the serving itself left out."""

    def __init__(self) -> None:
        self.reporter, self.said, self.states = Reporter(), [], []  # type: ignore[var-annotated]

    def __call__(self, *models: str, runtime: Any = None, **options: Any) -> None:
        launch(models, {"listen_port": 0, **options}, runtime or {}, self.reporter, self.said.append)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, fake_llm: object) -> Any:
    """Return `launched(*models, **options)`: `launch` that stops where it would serve."""
    found = Launched()

    def serve(state: ServerState, listener: Any, started: Callable[[], object]) -> None:
        started()
        found.states.append(state)
        listener.close()
        state.models.close(20)

    monkeypatch.setattr(launching, "serve", serve)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)  # so that a person is told, not the log
    return found


def test_names_sources_and_paths_with_an_equals_sign(
    launched: Any, fake_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    odd = fake_bundle("classify").rename(tmp_path / "a=b")
    launched(f"mine={fake_bundle()}", str(odd), f"third={fake_bundle('reward')}")
    assert [model.name for model in launched.states[0].models.models] == ["mine", "acme/fake", "third"]
    assert [line.split()[0] for line in launched.said[1:4]] == ["mine", "acme/fake", "third"]
    assert launched.said[5].startswith("serving on http://127.0.0.1:")
    assert len(launched.said) == 6
    assert all(model.engine.tokenizer.max_characters == 500_000 for model in launched.states[0].models.models)
    # Every one had a real forward pass before the server listens.
    assert all(model.engine.session.calls for model in launched.states[0].models.models)


def test_a_bad_option_is_told_before_anything_is_loaded(launched: Any, tmp_path: Path) -> None:
    for options, message in (
        ({"api_key_file": str(tmp_path / "none")}, "api_key_file .* cannot be read"),
        ({"ssl_certfile": str(tmp_path / "none")}, "the certificate of .* cannot be used"),
        ({"host": "no.such.host.invalid"}, "cannot listen on"),
        ({"max_inputs": 0}, "max_inputs must be at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            launched("none", **options)
    assert launched.reporter.steps == []


def test_an_open_door_is_pointed_out_and_no_key_is_shown(launched: Any, fake_bundle: Any, tmp_path: Path) -> None:
    launched(str(fake_bundle()), host="0.0.0.0")
    assert any(line.startswith("warning: 0.0.0.0 can be reached") for line in launched.said)
    file = tmp_path / "keys.txt"
    file.write_text("a-secret\n")
    file.chmod(0o644)
    launched.said.clear()
    launched(str(fake_bundle()), host="0.0.0.0", api_key_file=str(file), api_key="b-secret")
    assert [line for line in launched.said if "warning" in line] == [
        f"warning: every user of this machine can read the keys: chmod 600 {file}"
    ]
    assert "-secret" not in " ".join(launched.said)


def test_a_model_that_does_not_answer_is_not_served(
    launched: Any, fake_bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise RuntimeFailure("the first forward pass failed")

    monkeypatch.setattr("pool_export.runtime.server.models.Served.probe", fail)
    with pytest.raises(RuntimeFailure, match="the first forward pass failed"):
        launched(str(fake_bundle()))
    assert launched.states == []


def test_loading_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that takes minutes to open does so in a thread, so the thread that hears signals only waits."""
    seen: list[str] = []
    assert launching._interruptible(lambda: seen.append(threading.current_thread().name)) is None  # type: ignore[arg-type,func-returns-value]
    assert seen == ["pool-export-load"]
    with pytest.raises(ZeroDivisionError):
        launching._interruptible(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
