"""Every way a command can end: the line it prints and the code it exits with."""

from __future__ import annotations

import signal
from collections.abc import Callable

import click
import pytest

from pool_export.cli.errors import Stopped
from pool_export.poolers.errors import ConfigError, PoolExportError
from pool_export.runtime.errors import BundleError, InputError, MissingExtraError, ProviderError, RuntimeFailure

from .conftest import Result

Call = Callable[..., Result]

ENDINGS: list[tuple[BaseException, int, str]] = [
    (PoolExportError("broken"), 1, "broken"),
    (BundleError("two\n  lines"), 1, "two lines"),
    (InputError("bad"), 1, "bad"),
    (ProviderError("no device"), 1, "no device"),
    (RuntimeFailure("not finite"), 1, "not finite"),
    (ConfigError("late"), 1, "late"),
    (MissingExtraError("torch", "export"), 1, "torch is not installed; run: pip install 'pool-export[export]'"),
    (click.UsageError("wrong"), 2, "wrong"),
    (click.ClickException("cannot"), 1, "cannot"),
    (OSError(28, "No space left on device", "/x/y"), 1, "/x/y: No space left on device"),
    (OSError(28, "No space left on device"), 1, "reading or writing failed: No space left on device"),
    (MemoryError(), 1, "out of memory; lower --max-batch-tokens, or use a machine with more"),
    (KeyboardInterrupt(), 130, "interrupted; nothing was left behind"),
    (Stopped(signal.SIGINT), 130, "interrupted; nothing was left behind"),
    (Stopped(signal.SIGTERM), 143, "terminated; nothing was left behind"),
    (Stopped(signal.SIGHUP), 129, "terminated; nothing was left behind"),
    (KeyError("a\nb"), 1, "internal error, KeyError: 'a\\nb'; run again with --debug and report the traceback"),
    (ValueError("a\nb"), 1, "internal error, ValueError: a b; run again with --debug and report the traceback"),
]


@pytest.mark.parametrize(("error", "code", "line"), ENDINGS, ids=[f"{type(e).__name__}-{c}" for e, c, _ in ENDINGS])
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, line: str, call: Call, fail_with: Callable[[BaseException], None]
) -> None:
    fail_with(error)
    result = call("inspect", "./bundle")
    assert (result.code, result.out) == (code, "")
    assert result.err.splitlines()[-1] == f"Error: {line}"
    assert result.err.startswith("Usage: ") == (code == 2)
    assert len(result.err.strip().splitlines()) == (4 if code == 2 else 1)


@pytest.mark.parametrize(
    ("error", "line"),
    [(PoolExportError("broken"), "Error: broken"), (KeyError("k"), "Error: internal error, KeyError: 'k'")],
)
def test_debug_adds_the_traceback_and_keeps_the_line(
    error: Exception, line: str, call: Call, fail_with: Callable[[BaseException], None]
) -> None:
    fail_with(error)
    result = call("inspect", "./bundle", "--debug")
    assert result.code == 1
    first, *_, last = result.err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last.startswith(line)


def test_an_exit_code_of_its_own_is_kept(call: Call, fail_with: Callable[[BaseException], None]) -> None:
    fail_with(click.exceptions.Exit(7))
    assert call("inspect", "./bundle") == Result(7, "", "")


def test_signals_that_the_parent_ignores_stay_ignored(call: Call) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    call("--version")
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)
