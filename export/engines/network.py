"""One graph through TensorRT's builder: parse, profiles, options, and the serialized engine. Nothing about bundles."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.engines.library import Loaded
from ...runtime.engines.profiles import Profile
from ...runtime.files import replacing
from ...runtime.manifest import TensorInfo
from ..errors import ExportError


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to build.

    Attributes:
        graph: the ONNX file.
        profiles: one or more.
        workspace: bytes; 0 for the library's limit.
        compute_capabilities: such as ``8.9``; empty for the library's default.
        timing_cache: file to read and to write.
    """

    graph: Path
    profiles: Sequence[Profile]
    workspace: int = 0
    compute_capabilities: Sequence[str] = ()
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False


@dataclass(frozen=True)
class Plan:
    """A serialized engine with its bindings; ``notes`` are for the person who asked."""

    data: bytes
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    notes: tuple[str, ...] = ()


def build_plan(library: Loaded, order: Order) -> Plan:
    """Build an engine from a graph whose types are the arithmetic (a strongly typed network).

    All of it happens in a thread of its own. TensorRT calls back into Python, and in the main thread those calls are
    where the handler of a signal would run: what it raises is then lost in TensorRT, or ends the process. Here the main
    thread only waits, takes the signal, and has the build, minutes long with full TensorRT, end at its next step.

    Raises:
        ExportError: TensorRT cannot read the graph, or makes no engine of it; one line that says why.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(_plan, library, order, stopped).result()
        except BaseException:
            stopped.set()
            raise


def _plan(library: Loaded, order: Order, stopped: threading.Event) -> Plan:
    trt = library.api
    library.errors.clear()
    builder = trt.Builder(library.log)
    if builder is None:
        raise ExportError(f"{library.title} does not start: {library.reason('no reason given')}")
    # Ignored by TensorRT 11, where every network is strongly typed; needed by 10.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(library, network, order.graph)
    config = _config(library, builder, order)
    for profile in order.profiles:
        shapes = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            shapes.set_shape(network.get_input(index).name, profile.min, profile.opt, profile.max)
        config.add_optimization_profile(shapes)
    notes = _use_timings(trt, config, order.timing_cache)
    monitor = _monitor(trt, stopped)  # the configuration holds no reference that keeps it alive
    config.progress_monitor = monitor
    data = builder.build_serialized_network(network, config)
    if data is None:
        raise ExportError(f"{library.title} built no engine of {order.graph.name}: {library.reason('no reason given')}")
    _keep_timings(config, order.timing_cache)
    axes = ("batch_size", "sequence_length")
    inputs = tuple(_tensor(trt, network.get_input(index), axes) for index in range(network.num_inputs))
    outputs = tuple(_tensor(trt, network.get_output(index), axes) for index in range(network.num_outputs))
    return Plan(bytes(data), inputs, outputs, notes)


def _monitor(trt: Any, stopped: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Asked after every step whether to go on."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """Nothing to do."""

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Say whether to go on."""
            return not stopped.is_set()

        def phase_finish(self, phase_name: str) -> None:
            """Nothing to do."""

    return Monitor()


def _parse(library: Loaded, network: Any, graph: Path) -> None:
    parser = library.api.OnnxParser(network, library.log)
    # From the file, so that external data is found beside it.
    if parser.parse_from_file(str(graph)):
        return
    if not parser.num_errors:
        raise ExportError(f"{library.title} cannot read {graph.name}: {library.reason('no reason given')}")
    error = parser.get_error(0)
    node = f"node {error.node_name()} ({error.node_operator()}): " if error.node_name() else ""
    more = f" (and {parser.num_errors - 1} more)" if parser.num_errors > 1 else ""
    raise ExportError(f"{library.title} cannot read {graph.name}: {node}{' '.join(error.desc().split())}{more}")


def _config(library: Loaded, builder: Any, order: Order) -> Any:
    trt = library.api
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and float32 means float32 here
    if order.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace)
    if order.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if order.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if order.compute_capabilities:
        config.num_compute_capabilities = len(order.compute_capabilities)
        for index, name in enumerate(order.compute_capabilities):
            config.set_compute_capability(_capability(library, name), index)
    return config


def _capability(library: Loaded, name: str) -> Any:
    known = {key: value for key, value in library.api.ComputeCapability.__members__.items() if key.startswith("SM")}
    if (key := "SM" + name.replace(".", "")) not in known:
        there = ", ".join(f"{item[2:-1]}.{item[-1]}" for item in known)
        raise ExportError(f"{library.title} builds for compute capability {there}, not for {name}")
    return known[key]


def _use_timings(trt: Any, config: Any, path: Path | None) -> tuple[str, ...]:
    """Give the builder the timings of earlier builds; those of another GPU or version are left out, with a note."""
    if path is None:
        return ()
    stored = path.read_bytes() if path.is_file() else b""
    timings = config.create_timing_cache(stored)
    if timings is not None and config.set_timing_cache(timings, ignore_mismatch=False):
        return ()
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return (f"{path} holds the timings of another GPU or another version; they are replaced",)


def _keep_timings(config: Any, path: Path | None) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(bytes(config.get_timing_cache().serialize()))
    except OSError as error:
        raise ExportError(f"the timing cache {path} cannot be written: {error.strerror}") from error


def _tensor(trt: Any, tensor: Any, axes: tuple[str, str]) -> TensorInfo:
    """Describe a binding; -1 is the batch on the first axis and the length on any other."""
    names = {trt.DataType.FLOAT: "float32", trt.DataType.INT64: "int64"}
    if tensor.dtype not in names:
        raise ExportError(f"{tensor.name} is {tensor.dtype}, expected one of {', '.join(names.values())}")
    shape = tuple(
        int(size) if size >= 0 else axes[0] if index == 0 else axes[1] for index, size in enumerate(tensor.shape)
    )
    return TensorInfo(name=tensor.name, dtype=names[tensor.dtype], shape=shape)
