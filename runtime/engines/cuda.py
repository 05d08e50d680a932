"""CUDA's runtime through ``cuda-bindings``: checked calls, buffers, and which GPU there is. No torch, no CuPy."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MissingExtraError, ProviderError

Array = np.ndarray


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


class Buffer:
    """The memory of one binding: fixed on the device (captured graphs hold its address), page-locked on the host.

    Args of its methods are numpy arrays of ``dtype``; copies are queued on a stream and done when that is.
    """

    def __init__(self, cuda: Any, dtype: np.dtype, size: int) -> None:
        """Reserve room for ``size`` elements on the device.

        Raises:
            ProviderError: the GPU has no such memory left.
        """
        self._cuda, self._dtype, self._size = cuda, dtype, size
        self.address = int(checked(cuda, cuda.cudaMalloc, max(1, size) * dtype.itemsize))
        self._host = 0
        self._page = np.empty(0, dtype)

    def upload(self, array: Array, stream: Any) -> None:
        """Queue a copy to the device."""
        page = self._host_page(array.size)
        np.copyto(page, array.reshape(-1))
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        checked(
            self._cuda, self._cuda.cudaMemcpyAsync, self.address, self._host, page.size * page.itemsize, kind, stream
        )

    def download(self, shape: tuple[int, ...], stream: Any) -> Array:
        """Queue a copy from the device; the view returned holds it once the stream is done, until the next one."""
        page = self._host_page(math.prod(shape))
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        checked(
            self._cuda, self._cuda.cudaMemcpyAsync, self._host, self.address, page.size * page.itemsize, kind, stream
        )
        return page.reshape(shape)

    def _host_page(self, size: int) -> Array:
        if size > self._size:
            raise ValueError(f"{size} elements do not fit a buffer of {self._size}")
        if size > self._page.size:
            if self._host:
                checked(self._cuda, self._cuda.cudaFreeHost, self._host)
            self._host = int(checked(self._cuda, self._cuda.cudaMallocHost, size * self._dtype.itemsize))
            memory: Any = (ctypes.c_byte * (size * self._dtype.itemsize)).from_address(self._host)
            self._page = np.frombuffer(memory, self._dtype)
        return self._page[:size]

    def close(self) -> None:
        """Give both memories back."""
        checked(self._cuda, self._cuda.cudaFree, self.address)
        if self._host:
            checked(self._cuda, self._cuda.cudaFreeHost, self._host)
            self._host, self._page = 0, self._page[:0]
