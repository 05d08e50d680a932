"""OpenVINO's own runtime: the one on x86 whose matrix products run in bfloat16 (``avx512_bf16``, AMX).

It reads the canonical graph and rounds by itself. It is not trusted for that: a decoder came back wrong in float32 and
right in bfloat16 (OpenVINO 2026.4, Qwen3-shaped), so every combination is checked on its host first (``admission.py``).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, ProviderError
from ..system import return_free_memory
from .backend import Array, Load
from .open_vino_graph import round_between_norms, turn_keys_in_the_product

# Precision -> OpenVINO's word for the arithmetic, the best first: an int8 graph has products in 8 bits whatever stands
# here, and everything between them is bfloat16 where the processor has it.
_HINTS = {"fp32": ("f32",), "bf16": ("bf16",), "int8": ("bf16", "f32")}

# OpenVINO makes one kernel of scores, mask, softmax and values. With bfloat16 it takes up to half longer than one after
# the other does where a text has some 10 to 100 tokens, and less from about 250 on, where the scores leave the cache.
_UNFUSED = {"SNIPPETS_MODE": "DISABLE"}
_LONGEST_UNFUSED = 256
# Kernels are made for each shape of a batch, and OpenVINO keeps 5,000 in every stream: a process that had seen some
# 600 shapes was at 2.8 GB, and grew. oneDNN keeps the costly ones for the whole process anyway, until others came. The
# graph for what is alone keeps more: its shapes are smaller, come again (one text of some length), and are waited for.
_KERNELS = "CPU_RUNTIME_CACHE_CAPACITY"
_KEPT, _KEPT_ALONE = 100, 500
# In bfloat16 a lone text is padded to a multiple of this, so that it sooner finds the kernels of its shape, which are
# waited for. A tile of AMX has 16 rows, so products of fewer take as long; in float32 every row costs.
_LENGTH_STEP = 16


def load_openvino() -> Any:
    """Import OpenVINO.

    Raises:
        MissingExtraError: the ``openvino`` extra is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    return openvino


class OpenVinoBackend:
    """A graph on the CPU in OpenVINO, compiled anew for each set of outputs that is asked for."""

    def __init__(self, load: Load) -> None:
        """Read and compile the graph.

        Raises:
            MissingExtraError: the ``openvino`` extra is not installed.
            ProviderError: this CPU does not compute in the precision, or the library has no such mode.
            Exception: OpenVINO's own, for a file it cannot read.
        """
        if load.place.compute not in _HINTS:
            raise ProviderError(
                f"device 'openvino' computes in {', '.join(_HINTS)}, got precision {load.place.compute!r}; leave the "
                "device at auto"
            )
        library = load_openvino()
        self.version = f"openvino {library.__version__}"
        self.streams = load.streams
        self._library, self._core = library, library.Core()
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        hints = _HINTS[load.place.compute]
        self._hint = hints[0] if has_bf16 else hints[-1]
        self.length_step = _LENGTH_STEP if self._hint == "bf16" else 1
        self._options = {
            "INFERENCE_PRECISION_HINT": self._hint,
            "INFERENCE_NUM_THREADS": load.threads,
            "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core, and other processes have it too
        }
        self._model = _read(load.path)
        if self._hint == "bf16":
            turn_keys_in_the_product(self._model)
        if load.place.compute == "bf16":
            round_between_norms(self._model)
        self.input_names = tuple(item.any_name for item in self._model.inputs)
        self.output_names = tuple(item.any_name for item in self._model.outputs)
        # An image tower attends to hundreds of patches, and the second axis of its input is no length.
        self._unfuses = self._hint == "bf16" and load.copies and "input_ids" in self.input_names
        self._has_undocumented = True
        self._widens = load.widens
        self._compiled: dict[tuple[tuple[str, ...], int, bool], _Requests] = {}
        self._lock = threading.Lock()
        usual = load.usual if load.usual in self.output_names else self.output_names[0]
        for streams in {self.streams, 1 if load.widens else self.streams}:
            self._requests((usual,), streams, length=1)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str], *, gives_back: bool, alone: bool) -> list[Array]:
        """Run one batch; see ``Backend.run``."""
        # OpenVINO compiles for any shape and does not compare one input's with another's: it answers garbage.
        if len(shapes := {value.shape for value in feeds.values()}) > 1:
            raise ValueError(f"the inputs have different shapes: {', '.join(map(str, sorted(shapes)))}")
        streams = 1 if alone and self._widens else self.streams
        requests = self._requests(tuple(outputs), streams, length=next(iter(shapes))[1])
        values = requests.run(feeds)
        if gives_back:
            with self._lock:
                compiled = list(self._compiled.values())
            for one in compiled:
                one.release()
            return_free_memory()  # what a long text took came from the C library's heaps, which keep it
        return values

    def metadata(self) -> dict[str, str]:
        """The graph's own ``metadata_props``, where OpenVINO keeps them."""
        if not self._model.has_rt_info(["framework"]):
            return {}
        found = self._model.get_rt_info(["framework"]).value
        return {str(key): str(value.value if hasattr(value, "value") else value) for key, value in found.items()}

    def _requests(self, outputs: tuple[str, ...], streams: int, *, length: int) -> _Requests:
        """The graph compiled for these outputs and this length, all threads shared by so many streams."""
        unfused = self._unfuses and length <= _LONGEST_UNFUSED
        with self._lock:
            if (key := (outputs, streams, unfused)) not in self._compiled:
                chosen = [self._model.output(name) for name in outputs]
                # The graph computes all of its outputs, wanted or not, so the others are left out of it.
                model = self._library.Model(chosen, self._model.get_parameters(), "pool_export")
                compiled = self._compile(model, {**self._options, "NUM_STREAMS": streams}, unfused=unfused)
                self._check_precision(compiled)
                self._compiled[key] = _Requests(compiled, streams)
            return self._compiled[key]

    def _compile(self, model: Any, how: dict[str, Any], *, unfused: bool) -> Any:
        alone = self._widens and how["NUM_STREAMS"] == 1
        undocumented = {_KERNELS: _KEPT_ALONE if alone else _KEPT, **(_UNFUSED if unfused else {})}
        if self._has_undocumented:
            try:
                return self._core.compile_model(model, "CPU", {**how, **undocumented})
            except RuntimeError as error:
                if "Unsupported property" not in str(error) or not any(name in str(error) for name in undocumented):
                    raise
                self._has_undocumented = self._unfuses = False  # another version: slower or larger, and right
        return self._core.compile_model(model, "CPU", how)

    def _check_precision(self, compiled: Any) -> None:
        active = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if active != self._hint:
            raise ProviderError(
                f"device 'openvino': this CPU computes in {active}, not in {self._hint} (bf16 needs avx512_bf16 or "
                "amx_bf16); use precision fp32"
            )


def _read(path: Path) -> Any:
    """Read an ONNX file. `Core.read_model` would ask every frontend, and TensorFlow's prints to stderr."""
    from openvino.frontend import FrontEndManager

    frontend = FrontEndManager().load_by_framework("onnx")
    return frontend.convert(frontend.load(str(path)))


class _Requests:
    """A compiled graph and as many requests as there are streams; whoever finds none waits."""

    def __init__(self, model: Any, streams: int) -> None:
        self.model = model
        self._streams = streams
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()  # the last one used has its buffers in the cache
        for _ in range(streams):
            self._free.put(model.create_infer_request())
        self._releasing = threading.Lock()

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        request = self._free.get()
        try:
            request.infer(dict(feeds), share_inputs=True)
            # Copied: the request writes its next answer to the same place.
            return [request.get_output_tensor(index).data.copy() for index in range(len(self.model.outputs))]
        finally:
            self._free.put(request)

    def release(self) -> None:
        """Give memory back; nothing may run meanwhile, so it waits for what does."""
        with self._releasing:
            idle = [self._free.get() for _ in range(self._streams)]
            try:
                self.model.release_memory()
            finally:
                for request in idle:
                    self._free.put(request)
