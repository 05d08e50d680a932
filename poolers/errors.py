"""The root of every error this package raises on purpose.

    PoolExportError
    ├── ConfigError(ValueError)          a model's files or the user's options cannot be resolved
    ├── (runtime/errors.py)              BundleError, InputError, ProviderError, MissingExtraError
    └── (export/errors.py)               SourceError, ExportError, ParityError

A message says what was expected, what was found and what to do; the command line prints it as
one line. Anything that is not a ``PoolExportError`` is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PoolExportError(Exception):
    """Base class of all deliberate errors."""


class ConfigError(PoolExportError, ValueError):
    """A configuration (the model's own, or the user's) that cannot be represented."""


def closest(name: str, valid: Iterable[str]) -> str:
    """Return a ``; did you mean ...?`` clause, or the list of valid names when nothing is close."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; expected one of: {', '.join(names)}"
