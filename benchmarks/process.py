"""A contender's process, seen from outside: started, asked in lines, held still while others are measured."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from .machine import peak_rss_mb

WORKER = Path(__file__).with_name("worker.py")
SECONDS = 900.0  # the longest that a reply may take


class ContenderError(Exception):
    """A contender ended, was silent for too long, or answered with an error; the text says which."""


def surroundings(threads: int, cache: Path) -> dict[str, str]:
    """Environment of every contender: as many threads, no network, caches below `cache`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return {
        **inherited,
        **dict.fromkeys(pools, str(threads)),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "HOME": str(cache),
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "VLLM_CONFIG_ROOT": str(cache / "vllm"),
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; pooling needs next to none
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    }


class Process:
    """A running worker. It stands still (SIGSTOP) whenever it is not asked, so that no pool of it disturbs others."""

    def __init__(self, python: Path, folder: Path, *, name: str, threads: int) -> None:
        """Start a worker with an interpreter; its log and its caches go to `folder`."""
        cache = folder / "home"
        cache.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        self._log = self.log.open("a", encoding="utf-8")
        self.began = time.perf_counter()
        # -P: what lies beside the worker is no module of its own, but for the folder that it names.
        self._process = subprocess.Popen(
            [str(python), "-P", str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env=surroundings(threads, cache), cwd=cache, start_new_session=True, bufsize=0,
        )  # fmt: skip

    def ask(self, do: str, *, timeout: float = SECONDS, **arguments: Any) -> dict[str, Any]:
        """Put a command of `worker.Worker` and wait for its reply.

        Raises:
            ContenderError: an error, silence, or the end of the process.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise ContenderError("has no pipes")
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write((json.dumps({"do": do, **arguments}) + "\n").encode())
            if not select.select([self._process.stdout], [], [], timeout)[0]:
                raise ContenderError(f"gave no answer to {do!r} in {timeout:.0f} s; see {self.log}")
            line = self._read()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise ContenderError(f"ended at {do!r} with status {self._process.wait()}; see {self.log}")
        self._signal(signal.SIGSTOP)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ContenderError(f"{reply['error']} (at {do!r})")
        return reply

    def _read(self) -> bytes:
        """One line: the pipe is unbuffered, so a long one comes in pieces."""
        stream = self._process.stdout
        pieces: list[bytes] = []
        while stream is not None and (piece := stream.read(2**16)):
            pieces.append(piece)
            if piece.endswith(b"\n"):
                break
        return b"".join(pieces)

    def peak_mb(self) -> float:
        """Peak of resident memory so far, child processes included."""
        return peak_rss_mb(self._process.pid)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def close(self) -> None:
        """End the process and all that it started."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
