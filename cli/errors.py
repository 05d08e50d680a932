"""Errors become one line on stderr and an exit code, here and nowhere else."""

from __future__ import annotations

import os
import sys
import traceback

import click

from ..poolers.errors import PoolExportError

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class Terminated(BaseException):
    """SIGTERM arrived; raised so that half-written work is cleaned up on the way out."""


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
    if isinstance(error, KeyboardInterrupt | click.Abort | Terminated):
        _say("interrupted; nothing was left behind")
        return INTERRUPTED
    if isinstance(error, PoolExportError):
        _say(" ".join(str(error).split()))
        return FAILED
    if isinstance(error, MemoryError):
        _say("out of memory; lower --max-batch-tokens, or use a machine with more")
        return FAILED
    if isinstance(error, OSError):
        _say(f"{error.filename or 'file'}: {error.strerror or error}")
        return FAILED
    _say(f"internal error, {type(error).__name__}: {error}; run again with --debug and report the traceback")
    return FAILED


def _say(message: str) -> None:
    click.echo(f"Error: {message}", err=True)
