"""TensorRT engines run directly, through ``cuda-bindings``: no torch, and no onnxruntime between.

The engine lies beside the bundle's graphs (``engines/record.py``), built from the one of the precision asked for.
Everything slow happens when it is opened: loading, and a pass through every profile, in which TensorRT for RTX compiles
its kernels; those are kept in the user's cache.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..bundle import Bundle, is_bundle, open_bundle
from ..cache import cache_folder
from ..engines.cuda import find_gpu, load_cuda
from ..engines.lane import Bindings, Lane
from ..engines.library import Loaded, Target, load_library
from ..engines.record import EngineRecord, Here, find_engine, read_plan
from ..engines.validity import header_problems
from ..errors import ProviderError
from ..files import replacing
from .backend import Array, Load

logger = logging.getLogger("pool_export.runtime")


class TensorRtBackend:
    """An engine with as many lanes as there are streams; whoever finds none waits."""

    length_step = 1

    def __init__(self, load: Load) -> None:
        """Find the engine that may run here, load it, and run each of its profiles once.

        Raises:
            MissingExtraError: TensorRT or ``cuda-bindings`` is not installed.
            ProviderError: no GPU, or no engine that may run here; the message says how to build one.
        """
        device = load.place.device
        library, cuda = load_library(device), load_cuda(device)
        gpu = find_gpu(cuda)
        here = Here(version=library.version, capability=gpu.capability)
        bundle = _bundle_of(load.path)
        graph = bundle.manifest.graphs[load.place.graph]
        record = find_engine(bundle.folder, cast(Target, device), load.place.compute, graph, here)
        self._engine = _load(library, bundle.folder, record)
        self.version = f"{device} {library.version} on {gpu.name}, engine {record.plan.sha256[:12]}"
        self.streams = load.streams
        self.input_names = tuple(item.name for item in record.inputs)
        self.output_names = tuple(item.name for item in record.outputs)
        bindings = Bindings(inputs=record.inputs, outputs=record.outputs, profiles=record.key.profiles)
        kernels = _Kernels(library, self._engine, f"{gpu.name}_{record.plan.sha256[:32]}")
        lanes = [Lane(library, cuda, kernels.context(), bindings) for _ in range(load.streams)]
        for lane in lanes:
            _warm(lane, bindings)
        kernels.keep()
        self._free: queue.LifoQueue[Lane] = queue.LifoQueue()
        for lane in lanes:
            self._free.put(lane)

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], *, gives_back: bool, alone: bool = False
    ) -> list[Array]:
        """Run one batch; see ``Backend.run``.

        Nothing is given back, since the buffers are those of the largest batch; a batch that is alone gains nothing.
        """
        lane = self._free.get()
        try:
            return lane.run(feeds, outputs)
        finally:
            self._free.put(lane)

    def metadata(self) -> dict[str, str]:
        """Nothing: an engine keeps none of the graph's properties."""
        return {}


def _bundle_of(graph: Path) -> Bundle:
    """The bundle that a graph lies in: engines lie beside its graphs, and its manifest has their hashes."""
    return open_bundle(next(folder for folder in graph.parents if is_bundle(folder)))


def _load(library: Loaded, folder: Path, record: EngineRecord) -> Any:
    """Deserialize an engine, and compare its bindings with its description."""
    plan = read_plan(folder, record)
    if plan is None:
        raise ProviderError(
            f"{record.plan.path} is missing, cut short or changed; build it again: pool-export engine {folder} "
            f"--target {record.key.target} --precision {record.key.precision}"
        )
    if problems := header_problems(library, plan):
        raise ProviderError(f"{library.title} refuses {record.plan.path}: {', '.join(problems)}; build it again")
    library.errors.clear()
    runtime = library.api.Runtime(library.log)
    if record.key.version_compatible:
        runtime.engine_host_code_allowed = True  # such an engine carries the library that runs it
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        reason = library.reason("no reason given")
        raise ProviderError(f"{library.title} cannot load {record.plan.path}: {reason}; build it again")
    found = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if found != (wanted := {item.name for item in (*record.inputs, *record.outputs)}):
        raise ProviderError(
            f"{record.plan.path} has bindings {', '.join(sorted(found))}, its description {', '.join(sorted(wanted))}; "
            "build it again"
        )
    return engine


def _warm(lane: Lane, bindings: Bindings) -> None:
    """Run each profile once at its best shape: kernels are loaded, or compiled, now and not in a request."""
    for profile in bindings.profiles:
        feeds = {item.name: np.ones(profile.opt, item.dtype) for item in bindings.inputs}
        lane.run(feeds, [])


class _Kernels:
    """The kernels that TensorRT for RTX compiles for this GPU: read from the user's cache, and kept there."""

    def __init__(self, library: Loaded, engine: Any, name: str) -> None:
        self._engine = engine
        self._config: Any = None
        self._cache: Any = None
        if library.about.target != "tensorrt-rtx":
            return
        safe = "".join(char if char.isalnum() else "_" for char in name)
        self._path = cache_folder() / "kernels" / f"{safe}.bin"
        self._config = engine.create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        if self._path.is_file() and not self._cache.deserialize(self._path.read_bytes()):
            logger.info("%s holds kernels of another driver or GPU; they are compiled anew", self._path)
        self._config.set_runtime_cache(self._cache)

    def context(self) -> Any:
        """Make an execution context that uses them."""
        if self._config is None:
            return self._engine.create_execution_context()
        return self._engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Write them down; a cache that cannot be written is no error."""
        if self._cache is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._path) as stream:
                stream.write(bytes(self._cache.serialize()))
        except OSError as error:
            logger.info("%s cannot be written: %s", self._path, error.strerror)
