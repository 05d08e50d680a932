"""The exporter's libraries are loud; a user hears them with --debug only, and failures keep what was said."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool_export.export import quiet as module
from pool_export.export.pipeline import export_model
from pool_export.export.quiet import quiet, set_debug
from pool_export.export.request import ExportRequest


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = module._debug, logging.root.manager.disable
    yield
    module._debug = before[0]
    logging.disable(before[1])


def make_noise() -> None:
    print("printed")
    print("printed on stderr", file=sys.stderr)
    warnings.warn("warned", UserWarning, stacklevel=1)
    logging.getLogger("torch.onnx").warning("logged")


def test_noise_is_swallowed(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            make_noise()
    assert capsys.readouterr() == ("", "")
    assert caplog.messages == []


def test_noise_comes_through_with_debug(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    set_debug(True)
    with quiet(), pytest.warns(UserWarning, match="warned"):
        make_noise()
    out, err = capsys.readouterr()
    assert "printed\n" in out
    assert "printed on stderr\n" in err
    assert caplog.messages == ["logged"]


def test_a_failure_comes_through_with_what_was_said_before_it():
    def noisy_failure() -> None:
        make_noise()
        raise KeyError("real")

    with pytest.raises(KeyError) as caught, quiet():
        noisy_failure()
    assert caught.value.args == ("real",)
    assert caught.value.__notes__ == ["captured output:\nprinted\nprinted on stderr"]


def test_a_silent_failure_has_no_note():
    with pytest.raises(KeyError) as caught, quiet():
        raise KeyError("real")
    assert not hasattr(caught.value, "__notes__")


def test_everything_is_as_before_afterwards(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    logging.disable(logging.DEBUG)
    with pytest.raises(KeyboardInterrupt), quiet(), quiet():
        raise KeyboardInterrupt
    assert logging.root.manager.disable == logging.DEBUG
    logging.getLogger("torch.onnx").warning("heard")
    print("heard")
    assert caplog.messages == ["heard"]
    assert capsys.readouterr().out == "heard\n"


LOUD = ("Loading weights", "it/s]", "Warning", "experimental", "[torch.onnx]", "Skipping")


def test_a_user_sees_our_lines_only(small_bert: Path, tmp_path: Path):
    command = [sys.executable, "-m", "pool_export", str(small_bert), "-o", "bundle"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line for line in done.stderr.splitlines() if not line.endswith(" …")] == []
    assert len(done.stderr.splitlines()) >= 5
    assert done.stdout.splitlines()[-1].startswith("bundle: embed bundle, agrees with the reference on ")
    assert not any(word in done.stdout for word in LOUD)


@pytest.mark.parametrize("debug", [False, True])
def test_the_libraries_are_heard_with_debug_only(
    small_bert: Path, tmp_path: Path, trace_once: None, capfd: pytest.CaptureFixture[str], debug: bool
):
    set_debug(debug)
    export_model(ExportRequest(model=str(small_bert), output=tmp_path / "bundle"))
    said = "".join(capfd.readouterr())
    assert any(word in said for word in LOUD) is debug
    assert debug or said == ""
