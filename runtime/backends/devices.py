"""Which devices can be asked for here, and what the others lack: for ``pool-export doctor``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ...poolers.errors import PoolExportError
from ..engines.cuda import find_gpu, load_cuda
from ..engines.library import load_library
from .open_vino import load_openvino
from .providers import available, load_onnxruntime


@dataclass(frozen=True)
class DeviceState:
    """A device, whether it can be used, and by what, or what is missing."""

    device: str
    usable: bool
    about: str


def device_states() -> list[DeviceState]:
    """Ask every device but ``auto``. A library that is there is imported; no graph is opened."""
    return [_state(device, ask) for device, ask in _ASK.items()]


def _state(device: str, ask: Callable[[], str]) -> DeviceState:
    try:
        return DeviceState(device, True, ask())
    except PoolExportError as error:
        return DeviceState(device, False, str(error).removeprefix(f"device {device!r} "))


def _onnxruntime(device: str) -> str:
    available(device)
    return f"onnxruntime {load_onnxruntime().__version__}"


def _openvino() -> str:
    return f"OpenVINO {load_openvino().__version__}"


def _engines(target: str) -> str:
    library = load_library(target)
    return f"{library.title} on {find_gpu(load_cuda(target)).name}"


_ASK: dict[str, Callable[[], str]] = {
    "cpu": partial(_onnxruntime, "cpu"),
    "cuda": partial(_onnxruntime, "cuda"),
    "openvino": _openvino,
    "tensorrt": partial(_engines, "tensorrt"),
    "tensorrt-rtx": partial(_engines, "tensorrt-rtx"),
}
