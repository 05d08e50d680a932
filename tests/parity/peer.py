"""The other side: starts the worker in vLLM's environment, talks to it in lines, and ends all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

Answers = dict[str, list[tuple[list[int], np.ndarray]]]

START_SECONDS, CASE_SECONDS = 180, 180
WORKER = Path(__file__).with_name("worker.py")

# A tiny engine in this one process, without the network, that leaves its caches where it is told.
_SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}


class Peer:
    """A running worker. Not thread-safe: one case at a time."""

    def __init__(self, python: Path, folder: Path) -> None:
        """Start the worker with `python`; its caches, arrays and log go to `folder`."""
        self._folder = folder
        cache = folder.parent / "cache"  # what vLLM learnt of a class is kept for the next run
        for path in (folder, cache):
            path.mkdir(parents=True, exist_ok=True)
        places = {"VLLM_CACHE_ROOT": cache, "VLLM_CONFIG_ROOT": cache, "HOME": folder}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._log = (folder / "worker.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), "-P", str(WORKER)],  # -P: the worker's neighbours are no modules of its own
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env={**inherited, **_SURROUNDINGS, **{name: str(path) for name, path in places.items()}},
            cwd=folder, start_new_session=True,
        )  # fmt: skip
        self.version = str(self._read(START_SECONDS)["vllm"])

    def answer(self, name: str, case: dict[str, Any]) -> tuple[Answers, dict[str, str], dict[str, Any]]:
        """Put one case: its answers, what was refused, and figures (`seconds`, `rss_mb`).

        Raises:
            RuntimeError: the worker is gone, the engine's process died, or there was no reply in time.
        """
        arrays = self._folder / f"{name}.npz"
        if self._process.stdin is None or self._process.poll() is not None:
            raise RuntimeError(f"vLLM's worker ended; see {self._log.name}")
        self._process.stdin.write((json.dumps({**case, "arrays": str(arrays)}) + "\n").encode())
        self._process.stdin.flush()
        reply = self._read(CASE_SECONDS)
        if "died" in reply:
            raise RuntimeError(f"{reply['died']}; see {self._log.name}")
        with np.load(arrays) as stored:
            answers = {
                request: [
                    (stored[f"{request}/{row}/ids"].tolist(), stored[f"{request}/{row}/values"]) for row in range(count)
                ]
                for request, count in reply["counts"].items()
            }
        arrays.unlink()
        return answers, reply["refused"], {key: reply[key] for key in ("seconds", "rss_mb")}

    def _read(self, seconds: float) -> dict[str, Any]:
        stream = self._process.stdout
        if stream is None or not select.select([stream], [], [], seconds)[0]:
            self.close()
            raise RuntimeError(f"vLLM's worker gave no answer in {seconds:.0f} s; see {self._log.name}")
        line = stream.readline()
        if not line:
            raise RuntimeError(f"vLLM's worker ended; see {self._log.name}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the worker and every process it started: an engine outlives its parent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
