from __future__ import annotations

import sys

import pytest

from pool_export.runtime.backends import devices
from pool_export.runtime.backends.choice import BACKENDS
from pool_export.runtime.backends.devices import DeviceState, device_states
from pool_export.runtime.engines.cuda import Gpu


def by_name() -> dict[str, DeviceState]:
    return {state.device: state for state in device_states()}


def test_every_device_is_asked():
    assert list(by_name()) == list(BACKENDS)


def test_what_is_missing_is_named_with_the_command_that_brings_it(onnxruntime, monkeypatch: pytest.MonkeyPatch):
    onnxruntime(["CPUExecutionProvider"])
    for module in ("openvino", "tensorrt", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, module, None)
    found = by_name()
    assert found["cpu"] == DeviceState("cpu", True, "onnxruntime 0.0")
    assert not any(found[name].usable for name in ("cuda", "openvino", "tensorrt", "tensorrt-rtx"))
    assert found["cuda"].about.startswith("needs CUDAExecutionProvider, this onnxruntime has CPUExecutionProvider;")
    for name in ("openvino", "tensorrt", "tensorrt-rtx"):
        assert found[name].about.endswith(f"is not installed; run: pip install 'pool-export[{name}]'")


def test_a_gpu_is_named_with_the_library(onnxruntime, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    onnxruntime(["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(devices, "load_cuda", lambda extra: None)
    monkeypatch.setattr(devices, "find_gpu", lambda cuda: Gpu("A GPU", "8.9"))
    found = by_name()
    assert found["cuda"].usable
    assert found["tensorrt-rtx"].about.startswith("TensorRT for RTX 1.")
    assert found["tensorrt-rtx"].about.endswith(" on A GPU")
