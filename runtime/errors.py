"""Errors of the runtime; the tree's root is in ``poolers/errors.py``.

PoolExportError
├── BundleError                      the bundle on disk is missing, damaged, newer or unsafe
├── InputError(ValueError)           a request cannot be served as it is
├── ProviderError                    the device or execution provider asked for is not there
├── RuntimeFailure                   the graph ran and answered something unusable
└── MissingExtraError(ImportError)   an optional dependency is not installed
"""

from __future__ import annotations

from ..poolers.errors import PoolExportError


class BundleError(PoolExportError):
    """A bundle that cannot be opened; the message names the file."""


class InputError(PoolExportError, ValueError):
    """A prompt, parameter or task the model cannot serve (vLLM raises ``ValueError`` here)."""


class ProviderError(PoolExportError):
    """The device asked for is not available; there is no silent fallback."""


class RuntimeFailure(PoolExportError):
    """The graph failed, or answered with a non-finite number."""


class MissingExtraError(PoolExportError, ImportError):
    """An optional dependency is missing; the message is the command that installs it."""

    def __init__(self, package: str, extra: str, why: str = "") -> None:
        """Name the missing package, the extra that brings it and, where it is not plain, what needs it."""
        reason = f"{why}, and " if why else ""
        super().__init__(f"{reason}{package} is not installed; run: pip install 'pool-export[{extra}]'")
        self.package = package
        self.extra = extra


def first_line(error: Exception) -> str:
    """The first line of a library's message that is no place in its sources.

    onnxruntime's messages end with such places, OpenVINO's begin with them.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("Exception from ")), type(error).__name__)
