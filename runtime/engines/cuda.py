"""CUDA's runtime through ``cuda-bindings``: checked calls, buffers, and which GPU there is. No torch, no CuPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import MissingExtraError, ProviderError


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name, and its compute capability as ``8.9``."""

    name: str
    capability: str


def load_cuda(extra: str) -> Any:
    """Import CUDA's runtime bindings.

    Raises:
        MissingExtraError: ``cuda-bindings`` is not installed; ``extra`` brings it.
        ProviderError: it is installed and does not load.
    """
    try:
        from cuda.bindings import runtime
    except ModuleNotFoundError as error:
        raise MissingExtraError("cuda-bindings", extra) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise ProviderError(f"cuda-bindings is installed and does not load: {error}") from error
    return runtime


def checked(cuda: Any, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Call a function of CUDA's runtime; return its value, or ``None`` where it has none.

    Raises:
        ProviderError: it did not succeed.
    """
    status, *values = function(*arguments)
    if int(status) != 0:
        _, text = cuda.cudaGetErrorString(status)
        raise ProviderError(f"CUDA: {text.decode() if isinstance(text, bytes) else text} ({function.__name__})")
    return values[0] if values else None


def find_gpu(cuda: Any) -> Gpu:
    """Describe the GPU in use (the first visible one, unless the process chose another).

    Raises:
        ProviderError: none, or no driver.
    """
    try:
        device = checked(cuda, cuda.cudaGetDevice)
        found = checked(cuda, cuda.cudaGetDeviceProperties, device)
    except ProviderError as error:
        raise ProviderError(f"no NVIDIA GPU can be used here: {error}") from error
    name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
    return Gpu(name.rstrip("\0"), f"{found.major}.{found.minor}")
