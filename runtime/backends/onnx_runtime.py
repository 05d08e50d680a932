"""onnxruntime: the graph as it is, on the CPU and on execution providers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from .backend import Array, Load
from .providers import load_onnxruntime, open_session


class OnnxRuntimeBackend:
    """An ``InferenceSession`` of which every stream is a thread of its caller's, and one for a pass that is alone."""

    length_step = 1

    def __init__(self, load: Load) -> None:
        """Open the graph on the device of ``load.place``.

        Raises:
            MissingExtraError, ProviderError: the device cannot be had.
            Exception: onnxruntime's own, for a file it cannot read.
        """
        on_cpu = load.place.device == "cpu"
        self.version = f"onnxruntime {load_onnxruntime().__version__}"
        self.streams = load.streams
        pool = max(1, load.threads - load.streams + 1)
        self._session = open_session(str(load.path), load.place.device, _session_options(pool))
        self._wide = None
        if load.widens and 2 * pool <= load.threads:
            self._wide = open_session(str(load.path), load.place.device, _wide_options(load.threads))
        self._wide_is_free = threading.Lock()
        self._after_run = _giving_back() if on_cpu else None
        self.input_names = tuple(item.name for item in self._session.get_inputs())
        self.output_names = tuple(item.name for item in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str], *, gives_back: bool, alone: bool) -> list[Array]:
        """Run one batch; see ``Backend.run``."""
        if alone and self._wide is not None and self._wide_is_free.acquire(blocking=False):
            try:
                wide: list[Array] = self._wide.run(list(outputs), feeds)
                return wide
            finally:
                self._wide_is_free.release()
        values: list[Array] = self._session.run(list(outputs), feeds, self._after_run if gives_back else None)
        return values

    def metadata(self) -> dict[str, str]:
        """The graph's own ``metadata_props``."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


def _session_options(pool: int) -> Any:
    """Options of a session whose streams are their callers' threads, with a pool of so many threads, theirs included.

    The pool is shared, and there is none where every thread is a stream. That is what is fastest on two cores, by
    half: nobody waits for another thread after every operator, or spins until it comes.
    """
    options = load_onnxruntime().SessionOptions()
    options.intra_op_num_threads = pool
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan kept for every shape, and batches differ in shape on purpose
    options.log_severity_level = 4  # errors are raised; printed as well, in colour, they are noise on stderr
    return options


def _wide_options(threads: int) -> Any:
    """Options of a session that has every thread for one batch.

    They spin for as long as the next operator may take to come, and then sleep: spun without end, a text takes half as
    long again as on one thread where another process has the second core. It has no arena, so what a long text took is
    free after it.
    """
    options = _session_options(threads)
    options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
    options.enable_cpu_mem_arena = False
    return options


def _giving_back() -> Any:
    """Run options that return the arena's memory after the batch.

    The arena never shrinks by itself: one long text would hold its memory for good (onnxruntime#22271).
    """
    options = load_onnxruntime().RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
