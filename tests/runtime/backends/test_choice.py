from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.backends.backend import Load, Place
from pool_export.runtime.backends.choice import BACKENDS, RULE, open_backend, places
from pool_export.runtime.config import DEVICES
from pool_export.runtime.errors import BundleError, MissingExtraError, ProviderError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
EVERY = ("fp32", "bf16", "int8")


class InvalidProtobuf(Exception):
    pass


def chosen(device: str, precision: str, graphs: tuple[str, ...] = EVERY) -> list[tuple[str, str, str]]:
    return [(item.device, item.graph, item.compute) for item in places(graphs, device, precision, "bundle")]


def load(place: Place) -> Load:
    return Load(path=Path("m.onnx"), place=place, threads=2, streams=2, usual="logits")


def opened_by_auto() -> Place:
    return open_backend(places(("fp32",), "auto", "auto", "bundle"), load)[1]


def test_every_device_that_can_be_asked_for_has_a_backend():
    assert {"auto", *BACKENDS} == set(DEVICES)
    assert [line.split(":")[0] for line in RULE] == ["device auto", "precision auto"]


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("auto", "auto", [("cuda", "fp32", "fp32"), ("cpu", "fp32", "fp32")]),
        ("auto", "int8", [("cuda", "int8", "int8"), ("cpu", "int8", "int8")]),
        ("auto", "bf16", [("cuda", "bf16", "bf16"), ("openvino", "fp32", "bf16")]),
        ("cuda", "bf16", [("cuda", "bf16", "bf16")]),
        ("cpu", "auto", [("cpu", "fp32", "fp32")]),
        ("openvino", "auto", [("openvino", "fp32", "fp32")]),
        ("openvino", "bf16", [("openvino", "fp32", "bf16")]),
        ("openvino", "int8", [("openvino", "int8", "int8")]),
        ("tensorrt", "auto", [("tensorrt", "fp32", "fp32")]),
        ("tensorrt-rtx", "bf16", [("tensorrt-rtx", "bf16", "bf16")]),
    ],
)
def test_where_a_graph_may_run(onnxruntime, device: str, precision: str, expected: list[tuple[str, str, str]]):
    onnxruntime([CUDA, CPU])
    assert chosen(device, precision) == expected


def test_bf16_without_a_gpu_needs_no_graph_of_its_own(onnxruntime):
    onnxruntime([CPU])
    assert chosen("auto", "bf16", ("fp32",)) == [("openvino", "fp32", "bf16")]


def test_auto_without_cuda_is_the_cpu_alone(onnxruntime):
    onnxruntime(["AzureExecutionProvider", CPU])
    assert chosen("auto", "auto") == [("cpu", "fp32", "fp32")]


def test_auto_precision_of_an_adopted_bundle_without_fp32_is_its_first_graph(onnxruntime):
    onnxruntime([CPU])
    assert chosen("auto", "auto", ("fp16",)) == [("cpu", "fp16", "fp16")]


def test_a_precision_that_is_absent_is_refused_with_those_there_are(onnxruntime):
    onnxruntime([CPU])
    with pytest.raises(BundleError, match="bundle has no int8 graph; available: fp32"):
        chosen("auto", "int8", ("fp32",))
    with pytest.raises(BundleError, match="bundle has no fp32 graph; available: fp16"):
        chosen("openvino", "bf16", ("fp16",))


def test_onnxruntime_is_not_asked_for_bf16_on_a_cpu(onnxruntime):
    onnxruntime([CPU])
    with pytest.raises(ProviderError, match="use --device openvino"):
        chosen("cpu", "bf16")


def test_an_engine_is_not_asked_for_int8(onnxruntime):
    onnxruntime([CPU])
    with pytest.raises(ProviderError, match="runs engines in fp32, fp16 and bf16, got precision 'int8'"):
        chosen("tensorrt", "int8")


def test_an_explicit_device_is_never_replaced(onnxruntime):
    onnxruntime([CPU])
    with pytest.raises(ProviderError, match="device 'cuda' needs CUDAExecutionProvider"):
        chosen("cuda", "auto")


@pytest.mark.parametrize(
    "trouble", [{"active": {CUDA: CPU}}, {"fails": {CUDA: RuntimeError("CUDA failure 100")}}], ids=["quiet", "loud"]
)
def test_auto_takes_the_cpu_instead_and_says_why(onnxruntime, trouble: dict[str, Any], caplog):
    opened = onnxruntime([CUDA, CPU], **trouble)
    with caplog.at_level(logging.WARNING):
        assert opened_by_auto().device == "cpu"
    assert [item["providers"][0][0] for item in opened] == [CUDA, CPU]
    (record,) = caplog.records
    assert record.getMessage().startswith("device auto: CUDAExecutionProvider")
    assert record.getMessage().endswith("taking cpu instead")


def test_auto_without_trouble_warns_of_nothing(onnxruntime, caplog):
    onnxruntime([CPU])
    assert opened_by_auto().device == "cpu"
    assert caplog.records == []


def test_a_damaged_file_is_opened_once_under_auto(onnxruntime):
    opened = onnxruntime([CUDA, CPU], fails={CUDA: InvalidProtobuf("Protobuf parsing failed.")})
    with pytest.raises(BundleError, match=r"m\.onnx cannot be loaded \(Protobuf parsing failed\.\); it is truncated"):
        opened_by_auto()
    assert len(opened) == 1


def test_an_onnxruntime_of_strange_providers_is_an_error(onnxruntime):
    onnxruntime(["OddExecutionProvider"])
    with pytest.raises(ProviderError, match="none of the known execution providers"):
        opened_by_auto()


def test_a_library_that_is_not_installed_is_named(onnxruntime, monkeypatch: pytest.MonkeyPatch):
    import sys

    onnxruntime([CPU])
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pool-export\[openvino\]'"):
        open_backend(places(("fp32",), "auto", "bf16", "bundle"), load)
