"""How the command line is called: in this process where that says the same, as a real one where it does not."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pool_export.cli.main import main
from pool_export.export import quiet
from pool_export.runtime.manifest import MANIFEST_NAME

COMMAND = [sys.executable, "-m", "pool_export"]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def steps(self) -> list[str]:
        """Return the progress lines: what stderr holds besides the error and click's usage."""
        return [line for line in self.err.splitlines() if line.endswith(" …")]

    def error(self) -> str:
        """Return the one error line; anything else on stdout or stderr, progress and usage apart, is refused."""
        assert self.out == "", "a failure prints nothing on stdout"
        lines = [line for line in self.err.splitlines() if line not in self.steps()]
        if lines and lines[0].startswith("Usage: "):
            assert self.code == 2, "only wrong usage shows the usage"
            assert lines[1].startswith("Try 'pool-export"), lines
            assert lines[2] == "", lines
            lines = lines[3:]
        assert len(lines) == 1, lines
        assert lines[0].startswith("Error: "), lines
        return lines[0].removeprefix("Error: ")


@pytest.fixture
def _process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what the command line changes in its process: `--debug` and the signal handlers."""
    monkeypatch.setattr(quiet, "_debug", False)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, _process_state: None
) -> Callable[..., Result]:
    """Return `call(*words, stdin=b"", tty=False)`: run `pool-export` in this process."""

    def run(*words: object, stdin: bytes = b"", tty: bool = False) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: tty)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Result]:
    """Return `process(*words, stdin=b"", **variables)`: run `pool-export` as a process of its own."""

    def run(*words: object, stdin: bytes = b"", preexec: Callable[[], None] | None = None, **env: str) -> Result:
        done = subprocess.run(
            [*COMMAND, *map(str, words)], cwd=tmp_path, input=stdin, capture_output=True, preexec_fn=preexec,
            env={**os.environ, **env}, check=False, timeout=120,
        )  # fmt: skip
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def terminal(tmp_path: Path) -> Callable[..., str]:
    """Return `terminal(*words, columns=80)`: run `pool-export` on a terminal, return what stays on the screen."""

    def run(*words: object, columns: int = 80, redirect: str = "") -> str:
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        line = f"{shlex.join([*COMMAND, *map(str, words)])} {redirect}"
        process = subprocess.Popen(
            ["sh", "-c", line], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**environment, "TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        data = b""
        with contextlib.suppress(OSError):  # EIO: the last writer closed the terminal
            while chunk := os.read(ours, 65536):
                data += chunk
        os.close(ours)
        assert process.wait(60) == 0, data.decode()
        return _screen(data.decode())

    return run


def _screen(text: str) -> str:
    """Apply what rich and tqdm use: carriage return, erase line, cursor up; drop colours and modes."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?]?[\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", part):
            row = max(0, row - int(part[2:-1] or 1))
        elif not part.startswith("\x1b"):
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    return "\n".join(lines)


@pytest.fixture(scope="session")
def scorer(tiny_bundle: Callable[..., Path]) -> Path:
    """Return a cross-encoder: one label."""
    return tiny_bundle("bert", "sequence_1")


@pytest.fixture(scope="session")
def classifier(tiny_bundle: Callable[..., Path]) -> Path:
    """Return a classifier with the labels negative, neutral and positive."""
    return tiny_bundle("bert", "sequence_3")


@pytest.fixture(scope="session")
def rewarder(tiny_bundle: Callable[..., Path]) -> Path:
    """Return a reward model: five numbers a token."""
    return tiny_bundle("bert", "token_5", export={"convert": "reward"})


@pytest.fixture
def damaged(classifier: Path, tmp_path: Path) -> Path:
    """Return a copy of a bundle, for a test to spoil."""
    return Path(shutil.copytree(classifier, tmp_path / "damaged"))


def edit_manifest(bundle: Path, **changes: Any) -> None:
    """Change fields of a manifest; a dict is merged into what is there."""
    path = bundle / MANIFEST_NAME
    manifest = json.loads(path.read_bytes())
    for name, value in changes.items():
        manifest[name] = {**manifest[name], **value} if isinstance(value, dict) else value
    path.unlink()  # it may be a hard link
    path.write_text(json.dumps(manifest))


@pytest.fixture
def fail_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Return `fail_with(error)`: `pool-export inspect` raises it from now on."""

    def plant(error: BaseException) -> None:
        def broken(*args: Any) -> None:
            raise error

        monkeypatch.setattr("pool_export.cli.inspect.open_bundle", broken)

    return plant
