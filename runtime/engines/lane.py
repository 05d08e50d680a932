"""One execution context with its CUDA stream and its buffers: batches in, the wanted outputs back, one at a time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ProviderError
from ..manifest import TensorInfo
from .cuda import Array, Buffer, checked
from .library import Loaded
from .profiles import Profile, Shape, choose

logger = logging.getLogger("pool_export.runtime")

# A shape is captured as a CUDA graph the third time it comes; texts of every length make shapes that never come again.
_RECURS, _MOST_GRAPHS = 3, 64

_Key = tuple[int, Shape]  # of a captured graph: profile, rows x length


@dataclass(frozen=True, kw_only=True)
class Bindings:
    """What an engine reads and writes, in its order, and the shapes it takes."""

    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    profiles: Sequence[Profile]


@dataclass(frozen=True)
class _Captured:
    """A pass as the GPU repeats it by itself, and the shapes of its outputs."""

    graph: Any
    shapes: dict[str, tuple[int, ...]]


class Lane:
    """Runs batches of one engine; not from two threads at once.

    Attributes:
        captured: how many shapes have a CUDA graph.
    """

    def __init__(self, library: Loaded, cuda: Any, context: Any, bindings: Bindings) -> None:
        """Reserve memory for the largest batch of every profile.

        Raises:
            ProviderError: the GPU has no room for it, or the engine takes other shapes than its description says.
        """
        self._library, self._cuda, self._context, self._bindings = library, cuda, context, bindings
        self._stream = checked(cuda, cuda.cudaStreamCreate)
        self._profile = -1
        self._graphs: dict[_Key, _Captured] = {}
        self._seen: Counter[_Key] = Counter()
        self._captures = True
        self._buffers: dict[str, Buffer] = {}
        largest = self._largest()
        for item in (*bindings.inputs, *bindings.outputs):
            buffer = self._buffers[item.name] = Buffer(cuda, np.dtype(item.dtype), largest[item.name])
            self._require(context.set_tensor_address(item.name, buffer.address), f"an address for {item.name}")

    @property
    def captured(self) -> int:
        """Shapes that have a CUDA graph."""
        return len(self._graphs)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run a batch, in parts where no profile takes it whole.

        Raises:
            InputError: no profile takes its length.
            ProviderError: TensorRT or CUDA failed.
            ValueError: inputs of different shapes.
        """
        if len(shapes := {value.shape for value in feeds.values()}) != 1:
            raise ValueError(f"the inputs have different shapes: {', '.join(map(str, sorted(shapes)))}")
        rows, length = shapes.pop()
        self._library.errors.clear()
        parts: list[list[Array]] = []
        done = 0
        while done < rows:
            profile, taken = choose(self._bindings.profiles, rows - done, length)
            part = {name: value[done : done + taken] for name, value in feeds.items()}
            parts.append(self._pass(profile, (taken, length), part, outputs))
            done += taken
        return parts[0] if len(parts) == 1 else [np.concatenate(same) for same in zip(*parts, strict=True)]

    def close(self) -> None:
        """Give graphs, buffers and stream back."""
        for item in self._graphs.values():
            checked(self._cuda, self._cuda.cudaGraphExecDestroy, item.graph)
        for buffer in self._buffers.values():
            buffer.close()
        self._graphs, self._buffers = {}, {}
        checked(self._cuda, self._cuda.cudaStreamDestroy, self._stream)

    def _pass(self, profile: int, shape: Shape, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        for name, value in feeds.items():
            self._buffers[name].upload(value, self._stream)
        captured = self._graphs.get((profile, shape))
        if captured is not None:
            checked(self._cuda, self._cuda.cudaGraphLaunch, captured.graph, self._stream)
            shapes = captured.shapes
        else:
            shapes = self._take_shape(profile, shape)
            self._enqueue()
        views = [self._buffers[name].download(shapes[name], self._stream) for name in outputs]
        checked(self._cuda, self._cuda.cudaStreamSynchronize, self._stream)
        values = [view.copy() for view in views]  # the next batch writes to the same place
        if captured is None:
            self._maybe_capture((profile, shape), shapes)
        return values

    def _take_shape(self, profile: int, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Put the context in a profile and a shape; return those of the outputs."""
        if profile != self._profile:
            switched = self._context.set_optimization_profile_async(profile, int(self._stream))
            self._require(switched, f"profile {profile}")
            self._profile = profile
        for item in self._bindings.inputs:
            self._require(self._context.set_input_shape(item.name, shape), f"shape {shape} for {item.name}")
        return {item.name: tuple(self._context.get_tensor_shape(item.name)) for item in self._bindings.outputs}

    def _enqueue(self) -> None:
        self._require(self._context.execute_async_v3(int(self._stream)), "a batch")

    def _maybe_capture(self, key: _Key, shapes: dict[str, tuple[int, ...]]) -> None:
        """Capture a shape that recurs. The context has just run it, so nothing is left for a first time."""
        self._seen[key] += 1
        if not self._captures or self._seen[key] < _RECURS or len(self._graphs) >= _MOST_GRAPHS:
            return
        # TensorRT for RTX may still be compiling a kernel for the shape.
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(int(self._stream)):
            return
        try:
            self._graphs[key] = _Captured(self._capture(), shapes)
        except ProviderError as error:
            self._captures = False
            logger.warning("this engine runs without CUDA graphs: %s", error)

    def _capture(self) -> Any:
        cuda = self._cuda
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(cuda, cuda.cudaStreamBeginCapture, self._stream, mode)
        try:
            self._enqueue()
        finally:
            graph = checked(cuda, cuda.cudaStreamEndCapture, self._stream)  # whatever happened, the stream is usable
        executable = checked(cuda, cuda.cudaGraphInstantiate, graph, 0)
        checked(cuda, cuda.cudaGraphDestroy, graph)
        return executable

    def _largest(self) -> dict[str, int]:
        """Elements of each binding in the largest batch of any profile."""
        found: Counter[str] = Counter()
        for index, profile in enumerate(self._bindings.profiles):
            shapes = self._take_shape(index, profile.max)
            shapes |= {item.name: profile.max for item in self._bindings.inputs}
            for name, shape in shapes.items():
                found[name] = max(found[name], int(np.prod(shape)))
        return found

    def _require(self, happened: bool, what: str) -> None:
        if not happened:
            raise ProviderError(f"{self._library.title} refused {what}: {self._library.reason('no reason given')}")
