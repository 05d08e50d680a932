"""Errors become one line on stderr and an exit code, here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from types import FrameType

import click

from ..poolers.errors import PoolExportError
from ..runtime.errors import MissingExtraError

FAILED = 1


class Stopped(BaseException):
    """A signal arrived; raised so that half-written work is cleaned up on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def naming_extra(extra: str, package: str) -> Iterator[None]:
    """Import what an optional extra brings, and say which extra that is where it is missing.

    Args:
        extra: the extra of this project.
        package: shown where the failed import names none.

    Raises:
        MissingExtraError: a package of somebody else's cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("pool_export"):
            raise
        raise MissingExtraError((error.name or package).split(".")[0], extra) from error


def catch_signals() -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal end the command as ``Stopped`` (the ignored stay ignored)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def exit_code_for(error: BaseException, *, debug: bool) -> int:
    """Print an error for a person and return the process's exit code.

    Args:
        error: what ended the command.
        debug: print the traceback too.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader has gone (`| head`): point stdout at nothing so that the final flush is quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if debug:
        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        error = Stopped(signal.SIGINT)
    if isinstance(error, Stopped):
        if sys.stderr.isatty():
            click.echo(err=True)  # off the line where the terminal wrote ^C
        _say(f"{'interrupted' if error.number == signal.SIGINT else 'terminated'}; nothing was left behind")
        return 128 + error.number
    _say(_sentence(error))
    return FAILED


def _sentence(error: BaseException) -> str:
    if isinstance(error, PoolExportError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory; lower --max-batch-tokens, or use a machine with more"
    if isinstance(error, OSError):
        return f"{error.filename or 'reading or writing failed'}: {error.strerror or error}"
    return f"internal error, {type(error).__name__}: {error}; run again with --debug and report the traceback"


def _say(message: str) -> None:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
