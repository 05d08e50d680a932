"""One contender in a process of its own: a JSON line in, a JSON line out. Runs in any environment that has numpy."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# This folder holds `engines` and `handtuned`. A contender's environment has neither them nor pool_export.
sys.path.insert(0, str(Path(__file__).parent))


class Worker:
    """The commands, by name; each takes and returns what JSON can hold."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._items: list[str] = []
        self._rerank = False

    def open(self, engine: str, opened: dict[str, Any]) -> dict[str, Any]:
        """Open `module:class` on a model."""
        from engines import Opened

        module, _, name = engine.partition(":")
        kind = getattr(importlib.import_module(module), name)
        self._rerank = opened["task"] == "rerank"
        self._engine = kind(Opened(**opened))
        return {"versions": _versions(kind.PACKAGES)}

    def load(self, path: str) -> dict[str, Any]:
        """Read the texts (of a rerank the first is the query)."""
        self._items = json.loads(Path(path).read_text("utf-8"))
        return {"texts": len(self._items)}

    def run(self, batch_size: int | None, first: int | None = None, save: str | None = None) -> dict[str, Any]:
        """All texts, or the first few, in one call; `save` keeps the answers as a .npy file."""
        texts = self._items[:first]
        began = time.perf_counter()
        answers = self._call(texts, batch_size)
        seconds = time.perf_counter() - began
        if save is not None:
            _numpy().save(save, self._engine.rows(answers))
        return {"seconds": seconds, "texts": len(texts) - self._rerank}

    def calls(self, indices: list[list[int]], batch_size: int | None) -> dict[str, Any]:
        """Call by call, each with the texts of those indices: milliseconds."""
        found = []
        for chosen in indices:
            texts = [self._items[index] for index in chosen]
            began = time.perf_counter()
            self._call(texts, batch_size)
            found.append(1000 * (time.perf_counter() - began))
        return {"ms": found}

    def invariance(self, number: int, batch_size: int | None) -> dict[str, Any]:
        """How far apart the answers to the first texts are, each alone and all in one call."""
        texts = self._items[:number]
        together = self._engine.rows(self._call(texts, batch_size))
        alone = [self._engine.rows(self._call([text], batch_size))[0] for text in texts]
        return {"largest_difference": float(abs(together - _numpy().array(alone)).max())}

    def probe(self, seconds: float) -> dict[str, Any]:
        """Of the roofline probe alone: GFLOP/s by precision and library."""
        return {"gflops": self._engine.measure(seconds)}

    def _call(self, texts: list[str], batch_size: int | None) -> Any:
        if self._rerank:
            return self._engine.score(texts[0], texts[1:], batch_size)
        return self._engine.embed(texts, batch_size)


def _numpy() -> Any:
    # Not at the top: start-up is the contender's, and loading numpy is its own business too.
    return importlib.import_module("numpy")


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _end_with_parent() -> None:
    """Die with the parent (prctl(2), PR_SET_PDEATHSIG): a worker that stands still never sees its pipe close."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main() -> None:
    """Answer lines until there are no more."""
    _end_with_parent()
    # Libraries write to standard output as they like: the real one is for replies, theirs goes to the log.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            reply = getattr(worker, ask.pop("do"))(**ask)
        except Exception as error:  # noqa: BLE001  whatever it is, it is this contender's answer
            import traceback

            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"[:1000]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
