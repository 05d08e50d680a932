"""The two TensorRT libraries behind one door: they share an API, and where they differ is data here.

Read off ``tensorrt`` 11.4 and ``tensorrt_rtx_bindings`` 1.7.1: naming compute capabilities, the runtime cache and
``get_engine_validity`` are in the second alone. Its timing cache does nothing since 1.2 (kernels are compiled on the
GPU that runs them, and kept in a runtime cache), and it carries no lean runtime for version-compatible engines.
"""

from __future__ import annotations

import importlib
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from ..errors import MissingExtraError, ProviderError

Target = Literal["tensorrt", "tensorrt-rtx"]
TARGETS: tuple[str, ...] = get_args(Target)

_KEPT_LINES = 64


@dataclass(frozen=True, kw_only=True)
class Library:
    """What one of them is called and what it can do.

    Attributes:
        target: its device, and what ``--target`` takes; also the extra that brings it.
        title: for messages.
        module: to import.
        names_gpus: builds for compute capabilities that are named, on a host without a GPU too.
        keeps_timings: a timing cache makes the next build faster.
        spans_versions: engines for later versions of the library too.
        spans_gpus: engines for other GPUs than the one they were built on, by a flag.
    """

    target: Target
    title: str
    module: str
    names_gpus: bool
    keeps_timings: bool
    spans_versions: bool
    spans_gpus: bool


LIBRARIES: dict[str, Library] = {
    "tensorrt": Library(
        target="tensorrt",
        title="TensorRT",
        module="tensorrt",
        names_gpus=False,
        keeps_timings=True,
        spans_versions=True,
        spans_gpus=True,
    ),
    "tensorrt-rtx": Library(
        target="tensorrt-rtx",
        title="TensorRT for RTX",
        module="tensorrt_rtx_bindings",
        names_gpus=True,
        keeps_timings=False,
        spans_versions=False,
        spans_gpus=False,
    ),
}


class Loaded:
    """An imported library with its one logger.

    TensorRT keeps the first logger of a process for some messages, whatever later objects are given, so there is one.

    Attributes:
        about: what the library is.
        api: the imported module.
        version: of the library.
        log: to pass to its objects; it prints nothing.
        errors: the last error messages, oldest first.
    """

    def __init__(self, about: Library, api: Any) -> None:
        self.about = about
        self.api = api
        self.version = str(api.__version__)
        self.errors: deque[str] = deque(maxlen=_KEPT_LINES)
        self.log = _listener(api, self.errors)

    @property
    def title(self) -> str:
        """Name and version, for messages."""
        return f"{self.about.title} {self.version}"

    def reason(self, otherwise: str) -> str:
        """The first error message since ``errors`` was cleared, without the places in the library's sources."""
        return _plain(self.errors[0]) if self.errors else otherwise


def load_library(target: str) -> Loaded:
    """Import the library of a target.

    Raises:
        MissingExtraError: it is not installed.
        ProviderError: it is installed and does not load.
    """
    about = LIBRARIES[target]
    try:
        api = importlib.import_module(about.module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(about.title, about.target) from error
    except (ImportError, OSError) as error:
        raise ProviderError(f"{about.title} is installed and does not load: {error}; install it again") from error
    return _loaded(target, api)


@cache
def _loaded(target: str, api: Any) -> Loaded:
    return Loaded(LIBRARIES[target], api)


def _listener(api: Any, errors: deque[str]) -> Any:
    severe = (api.ILogger.INTERNAL_ERROR, api.ILogger.ERROR)

    class Listener(api.ILogger):  # type: ignore[misc]
        """Keeps error messages; TensorRT's own logger prints them on stderr."""

        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in severe:
                errors.append(message)

    return Listener()


def _plain(message: str) -> str:
    """Cut ``In function at /_src/file.cpp:12`` off, which says nothing to a user."""
    return message.split(" In ")[0].split("(In ")[0].strip().rstrip(".:(") or message
