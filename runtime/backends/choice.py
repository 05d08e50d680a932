"""Device and precision -> the places where a graph may run, in order, and the backend that opens it there.

The rule of ``auto``, which ``pool-export doctor`` prints (``RULE``): an explicit word is never replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import cast

from ...poolers.errors import PoolExportError
from ..errors import BundleError, MissingExtraError, ProviderError, first_line
from ..manifest import Precision, default_precision, existing_precision
from .backend import Backend, Load, Place
from .onnx_runtime import OnnxRuntimeBackend
from .open_vino import OpenVinoBackend
from .providers import available
from .tensor_rt import TensorRtBackend

logger = logging.getLogger("pool_export.runtime")

BACKENDS: dict[str, Callable[[Load], Backend]] = {
    "cpu": OnnxRuntimeBackend,
    "cuda": OnnxRuntimeBackend,
    "openvino": OpenVinoBackend,
    "tensorrt": TensorRtBackend,
    "tensorrt-rtx": TensorRtBackend,
}
RULE = (
    "device auto: what `pool-export tune` stored for the bundle on this host; else CUDA where onnxruntime has it "
    "and it loads; else onnxruntime on the CPU",
    "precision auto: what was tuned; else fp32. bf16 without a GPU: OpenVINO",
)


def places(graphs: Collection[str], device: str, precision: str, where: str) -> list[Place]:
    """Where to try a bundle's graph, the best first.

    Args:
        graphs: precisions that the bundle has a graph of.
        device: a word of ``config.DEVICES``.
        precision: a word of ``config.PRECISIONS``.
        where: the bundle, for messages.

    Raises:
        BundleError: no graph can answer in that precision.
        ProviderError: an explicit device whose provider this onnxruntime lacks.
    """
    graph = precision if precision != "auto" else default_precision(graphs)
    if device == "openvino":
        read = existing_precision(graphs, "int8" if graph == "int8" else "fp32", where)  # it rounds to bf16 by itself
        return [Place(device=device, graph=read, compute=cast(Precision, graph))]
    if BACKENDS.get(device) is TensorRtBackend:
        if graph == "int8":
            raise ProviderError(f"device {device!r} runs engines in fp32, fp16 and bf16, got precision 'int8'")
        return [_as_it_is(device, existing_precision(graphs, graph, where))]
    if device != "auto":
        available(device)
    names = [device] if device != "auto" else [name for name in ("cuda", "cpu") if available(name, required=False)]
    if device == "auto" and graph == "bf16" and "fp32" in graphs:
        # onnxruntime multiplies bfloat16 on a GPU only.
        on_gpu = [name for name in names if name == "cuda" and graph in graphs]
        return [*(_as_it_is(name, graph) for name in on_gpu), Place(device="openvino", graph="fp32", compute="bf16")]
    if graph == "bf16" and device == "cpu":
        raise ProviderError("onnxruntime has no bf16 on a CPU; use --device openvino, or leave the device at auto")
    return [_as_it_is(name, existing_precision(graphs, graph, where)) for name in names]


def open_backend(tried: list[Place], load: Callable[[Place], Load]) -> tuple[Backend, Place]:
    """Open the first place that works; say which were passed over.

    Raises:
        ProviderError: none works.
        MissingExtraError: the last one's library is not installed.
        BundleError: a file that a library cannot read.
    """
    for following, place in enumerate(tried, 1):
        opening = load(place)
        try:
            return BACKENDS[place.device](opening), place
        except (ProviderError, MissingExtraError) as error:
            if following == len(tried):
                raise
            logger.warning("device auto: %s; taking %s instead", _reason(error, place), tried[following].device)
        except PoolExportError:
            raise
        except Exception as error:
            raise BundleError(
                f"{opening.path} cannot be loaded ({first_line(error)}); it is truncated or damaged, export the model "
                "again"
            ) from error
    raise ProviderError("this onnxruntime has none of the known execution providers")


def _reason(error: PoolExportError, place: Place) -> str:
    return str(error).removeprefix(f"device {place.device!r}: ")


def _as_it_is(device: str, graph: str) -> Place:
    return Place(device=device, graph=cast(Precision, graph), compute=cast(Precision, graph))
