from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from pool_export.runtime.engines.cuda import checked, find_gpu, load_cuda
from pool_export.runtime.engines.library import LIBRARIES, TARGETS, load_library
from pool_export.runtime.engines.validity import header_problems
from pool_export.runtime.errors import MissingExtraError, ProviderError


def test_every_target_has_a_library():
    assert tuple(LIBRARIES) == TARGETS
    assert all(name == library.target for name, library in LIBRARIES.items())


@pytest.mark.parametrize("target", TARGETS)
def test_a_missing_library_is_named_with_its_extra(target: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, LIBRARIES[target].module, None)
    with pytest.raises(MissingExtraError) as caught:
        load_library(target)
    assert str(caught.value) == (
        f"{LIBRARIES[target].title} is not installed; run: pip install 'pool-export[{target}]'"
    )


def test_a_library_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch):
    def fails(name: str) -> None:
        raise OSError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", fails)
    with pytest.raises(ProviderError, match="TensorRT is installed and does not load: libnvinfer"):
        load_library("tensorrt")


def test_missing_cuda_bindings_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingExtraError, match=r"cuda-bindings is not installed; run: pip install 'pool-export\[x\]'"):
        load_cuda("x")


def test_the_gpu_is_described_and_a_missing_one_is_an_error():
    properties = SimpleNamespace(name=b"A GPU\0\0", major=8, minor=9)

    def bindings(status: int) -> SimpleNamespace:
        return SimpleNamespace(
            cudaGetDevice=lambda: (status, 0),
            cudaGetDeviceProperties=lambda device: (0, properties),
            cudaGetErrorString=lambda code: (0, b"no CUDA-capable device is detected"),
        )

    gpu = find_gpu(bindings(0))
    assert (gpu.name, gpu.capability) == ("A GPU", "8.9")
    with pytest.raises(ProviderError, match="no NVIDIA GPU can be used here: CUDA: no CUDA-capable device"):
        find_gpu(bindings(100))


def test_a_call_returns_its_value_or_nothing():
    cuda = SimpleNamespace()
    assert checked(cuda, lambda: (0, 7)) == 7
    assert checked(cuda, lambda: (0,)) is None


@pytest.fixture
def rtx():
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    return load_library("tensorrt-rtx")


def test_a_library_is_loaded_once_and_its_errors_are_kept(rtx, capfd: pytest.CaptureFixture[str]):
    assert load_library("tensorrt-rtx") is rtx
    rtx.errors.clear()
    rtx.log.log(rtx.api.ILogger.ERROR, "build: Error Code 4: no (In validate at /_src/network.cpp:12)")
    rtx.log.log(rtx.api.ILogger.WARNING, "a warning")
    assert list(rtx.errors) == ["build: Error Code 4: no (In validate at /_src/network.cpp:12)"]
    assert rtx.reason("") == "build: Error Code 4: no"
    rtx.errors.clear()
    assert rtx.reason("nothing was said") == "nothing was said"
    assert capfd.readouterr() == ("", "")


def test_a_header_that_is_none_is_told_without_a_gpu(rtx):
    assert header_problems(rtx, b"x" * 200) == ("malformed engine",)
    assert header_problems(rtx, b"") == ("malformed engine",)


def test_a_driver_that_is_not_there_is_an_error_of_ours():
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    cuda = load_cuda("tensorrt-rtx")
    status, count = cuda.cudaGetDeviceCount()
    if int(status) == 0 and count:
        pytest.skip("there is a GPU")
    with pytest.raises(ProviderError, match="no NVIDIA GPU can be used here: CUDA: "):
        find_gpu(cuda)
