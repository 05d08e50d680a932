"""A stand-in GPU: CUDA's runtime and TensorRT's execution API over host memory, and engines that really compute.

An engine's plan names an ONNX file, which onnxruntime runs on whatever the addresses hold. Memory is checked (every
copy has to lie inside a live allocation), the stream runs nothing before it is synchronised, and shapes outside of the
profile are refused, so a runner that mixes up one of them answers wrongly or fails.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest

from pool_export.runtime.backends import tensor_rt
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.engines import cuda as cuda_module
from pool_export.runtime.engines import library
from pool_export.runtime.engines.profiles import Profile, auto_profiles
from pool_export.runtime.engines.record import FORMAT, EngineKey, EngineRecord, graph_hashes, this_platform
from pool_export.runtime.manifest import FileInfo

VERSION = "11.4.0.106"


class StandInCuda:
    """What of `cuda.bindings.runtime` is called; `live` holds the allocations, `log` what was asked for."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="to device", cudaMemcpyDeviceToHost="to host")
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")

    def __init__(self, capability: tuple[int, int] = (8, 9)) -> None:
        self.capability = capability
        self.live: dict[int, tuple[Any, int, str]] = {}
        self.queued: dict[int, list[Callable[[], None]]] = {}
        self.capturing: int | None = None
        self.log: list[str] = []
        self.capture_fails = False
        self.left = 1 << 40

    # -- device

    def cudaGetDevice(self) -> tuple[int, int]:
        return 0, 0

    def cudaGetDeviceProperties(self, device: int) -> tuple[int, Any]:
        return 0, SimpleNamespace(name=b"Stand-in GPU", major=self.capability[0], minor=self.capability[1])

    def cudaGetErrorString(self, status: int) -> tuple[int, bytes]:
        return 0, {2: b"out of memory", 900: b"operation not permitted when stream is capturing"}[status]

    # -- memory

    def _allocate(self, size: int, kind: str) -> tuple[int, int]:
        if size > self.left:
            return 2, 0
        memory = ctypes.create_string_buffer(size)
        address = ctypes.addressof(memory)
        self.live[address] = (memory, size, kind)
        return 0, address

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        return self._allocate(size, "device")

    def cudaMallocHost(self, size: int) -> tuple[int, int]:
        return self._allocate(size, "host")

    def cudaFree(self, address: int) -> tuple[int]:
        assert self.live.pop(address)[2] == "device"
        return (0,)

    def cudaFreeHost(self, address: int) -> tuple[int]:
        assert self.live.pop(address)[2] == "host"
        return (0,)

    def require(self, address: int, size: int, kind: str) -> None:
        _, room, found = self.live[address]
        assert (found, size <= room) == (kind, True), f"{size} bytes of {found} memory of {room}, wanted {kind}"

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: str, stream: int) -> tuple[int]:
        kinds = {"to device": ("device", "host"), "to host": ("host", "device")}[kind]
        for address, where in zip((to, source), kinds, strict=True):
            self.require(address, size, where)
        self.log.append(f"copy {kind} {size}")
        self.enqueue(stream, lambda: ctypes.memmove(to, source, size))
        return (0,)

    # -- streams and graphs

    def enqueue(self, stream: int, work: Callable[[], Any]) -> None:
        self.queued[stream].append(work)

    def cudaStreamCreate(self) -> tuple[int, int]:
        stream = len(self.queued) + 1
        self.queued[stream] = []
        return 0, stream

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        assert self.queued.pop(stream) == []
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        work, self.queued[stream] = self.queued[stream], []
        for item in work:
            item()
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: str) -> tuple[int]:
        assert self.queued[stream] == []
        if self.capture_fails:
            return (900,)
        self.capturing = stream
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, list[Callable[[], None]]]:
        assert self.capturing == stream
        self.capturing = None
        work, self.queued[stream] = self.queued[stream], []
        return 0, work

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, Any]:
        self.log.append("graph made")
        return 0, tuple(graph)

    def cudaGraphDestroy(self, graph: Any) -> tuple[int]:
        return (0,)

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[int]:
        return (0,)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[int]:
        self.log.append("graph launched")
        self.queued[stream].extend(graph)
        return (0,)


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1


class StandInTensorRt:
    """What of `tensorrt` is called to run an engine."""

    __version__ = VERSION

    class ILogger:
        INTERNAL_ERROR, ERROR = Severity.INTERNAL_ERROR, Severity.ERROR

    def __init__(self, cuda: StandInCuda) -> None:
        self.cuda = cuda
        self.host_code_allowed = False
        self.compiling = False
        self.kernels: list[bytes] = []

    def Runtime(self, log: Any) -> Any:
        return Runtime(self, log)


class Runtime:
    def __init__(self, trt: StandInTensorRt, log: Any) -> None:
        self._trt, self._log = trt, log
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if not plan.startswith(b"{"):
            self._log.log(Severity.ERROR, "deserialize: Error Code 1: not an engine (In x at /_src/y.cpp:1)")
            return None
        self._trt.host_code_allowed = self.engine_host_code_allowed
        return Engine(self._trt, json.loads(plan))


class Engine:
    def __init__(self, trt: StandInTensorRt, plan: dict[str, Any]) -> None:
        self.trt, self.cuda = trt, trt.cuda
        self.session = onnxruntime.InferenceSession(plan["graph"], providers=["CPUExecutionProvider"])
        self.names = [item.name for item in (*self.session.get_inputs(), *self.session.get_outputs())]
        self.profiles = [(item["min"], item["max"]) for item in plan["profiles"]]
        self.error = plan["error"]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def create_execution_context(self, config: Any = None) -> Context:
        return Context(self) if config is None else RtxContext(self)

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.trt)


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, int]] = {}
        self._profile = 0

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in self._engine.names

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self._profile, self._shapes = index, {}
        return index < len(self._engine.profiles)

    def set_input_shape(self, name: str, shape: tuple[int, int]) -> bool:
        low, high = self._engine.profiles[self._profile]
        self._shapes[name] = shape
        return all(low[axis] <= shape[axis] <= high[axis] for axis in (0, 1))

    def get_tensor_shape(self, name: str) -> list[int]:
        rows, length = next(iter(self._shapes.values()))
        (output,) = [item for item in self._engine.session.get_outputs() if item.name == name]
        named = {"batch_size": rows, "sequence_length": length}
        return [named.get(size, size) for size in output.shape]

    def execute_async_v3(self, stream: int) -> bool:
        session, cuda = self._engine.session, self._engine.cuda
        inputs = [item.name for item in session.get_inputs()]
        assert set(self._shapes) == set(inputs)
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        outputs = {item.name: math.prod(self.get_tensor_shape(item.name)) for item in session.get_outputs()}

        def work() -> None:
            feeds = {}
            for name in inputs:
                count = math.prod(shapes[name])
                cuda.require(addresses[name], count * 8, "device")
                memory = (ctypes.c_int64 * count).from_address(addresses[name])
                feeds[name] = np.frombuffer(memory, np.int64).reshape(shapes[name]).copy()
            for name, exact in zip(outputs, session.run(None, feeds), strict=True):
                value = exact + np.float32(self._engine.error)
                cuda.require(addresses[name], value.nbytes, "device")
                ctypes.memmove(addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)

        cuda.log.append(f"pass {next(iter(shapes.values()))} profile {self._profile}")
        cuda.enqueue(stream, work)
        return True


class RtxContext(Context):
    """Of TensorRT for RTX, which compiles kernels for a shape beside the first passes."""

    def is_stream_capturable(self, stream: int) -> bool:
        return not self._engine.trt.compiling


class RuntimeConfig:
    def __init__(self, trt: StandInTensorRt) -> None:
        self._trt = trt
        self.cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache(self._trt)

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class RuntimeCache:
    """Compiled kernels; those of another GPU are refused."""

    def __init__(self, trt: StandInTensorRt) -> None:
        self._trt = trt

    def deserialize(self, blob: bytes) -> bool:
        self._trt.kernels.append(blob)
        return blob.startswith(b"kernels")

    def serialize(self) -> bytes:
        return b"kernels of this GPU"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> StandInCuda:
    """Put a stand-in GPU and TensorRT behind `device="tensorrt"` and `"tensorrt-rtx"`."""
    cuda = StandInCuda()
    loaded = {name: library.Loaded(about, StandInTensorRt(cuda)) for name, about in library.LIBRARIES.items()}
    monkeypatch.setattr(tensor_rt, "load_library", loaded.__getitem__)
    monkeypatch.setattr(tensor_rt, "load_cuda", lambda extra: cuda)
    assert cuda_module.find_gpu(cuda).name == "Stand-in GPU"
    return cuda


@pytest.fixture
def with_engine(tmp_path: Path) -> Callable[..., Path]:
    """Return `with_engine(bundle, profiles=..., graph=..., error=..., **key)`: a copy of a bundle with an engine."""

    def write(
        bundle: Path,
        profiles: tuple[Profile, ...] = (),
        graph: str | None = None,
        data: bytes = b"",
        error: float = 0.0,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / "with-engine"
        if not folder.exists():
            shutil.copytree(bundle, folder)
        manifest = open_bundle(folder).manifest
        info = manifest.graphs["fp32"]
        profiles = profiles or auto_profiles(manifest.tokenizer.max_length)
        key = EngineKey(
            target="tensorrt",
            precision="fp32",
            graph=graph_hashes(info),
            library_version=VERSION,
            compute_capabilities=("8.9",),
            gpu="Stand-in GPU",
            platform=this_platform(),
            profiles=profiles,
        )
        key = dataclasses.replace(key, **changes)
        plan = {"graph": graph or str(folder / info.files[0].path), "profiles": profiles, "error": error}
        data = data or msgspec.json.encode(plan)
        file = FileInfo(path=f"engines/{key.name}.plan", size=len(data), sha256=hashlib.sha256(data).hexdigest())
        record = EngineRecord(
            format=FORMAT,
            key=key,
            inputs=info.inputs,
            outputs=info.outputs,
            plan=file,
            created="2026-11-28",
            seconds=1,
        )
        (folder / "engines").mkdir(exist_ok=True)
        (folder / file.path).write_bytes(data)
        (folder / "engines" / f"{key.name}.json").write_bytes(msgspec.json.encode(record))
        return folder

    return write
