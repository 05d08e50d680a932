from __future__ import annotations

from typing import Any

import pytest

from pool_export.export.engines.options import EngineOptions, engine_precisions, parse_capabilities
from pool_export.export.request import ExportRequest
from pool_export.poolers.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"target": "onnx"}, "target must be one of tensorrt, tensorrt-rtx, got 'onnx'"),
        ({"target": "tensorrt", "compute_capability": ("8.9",)}, "--compute-capability is for tensorrt-rtx"),
        ({"target": "tensorrt-rtx", "timing_cache": "t"}, "--timing-cache is for tensorrt;"),
        ({"target": "tensorrt-rtx", "version_compatible": True}, "--version-compatible is for tensorrt;"),
        ({"target": "tensorrt-rtx", "hardware_compatible": True}, "--hardware-compatible is for tensorrt;"),
    ],
)
def test_what_a_library_cannot_do_is_refused_by_option(options: dict[str, Any], part: str):
    with pytest.raises(ConfigError) as caught:
        EngineOptions(**options)
    assert part in str(caught.value)


def test_what_it_can_do_is_not():
    EngineOptions(target="tensorrt", timing_cache="t", version_compatible=True, hardware_compatible=True)
    EngineOptions(target="tensorrt-rtx", compute_capability=("8.9",))


def test_capabilities_are_read_sorted_and_once():
    assert parse_capabilities("12.0, 8.9,8.9") == ("8.9", "12.0")
    for text in ("", "89", "8.9;12.0", "sm89"):
        with pytest.raises(ValueError, match="expected compute capabilities such as"):
            parse_capabilities(text)


@pytest.mark.parametrize(
    ("asked", "engines"),
    [
        (("fp32",), ("fp32",)),
        (("fp32", "fp16"), ("fp16",)),
        (("fp32", "fp16", "bf16", "int8"), ("fp16", "bf16")),
        (("fp32", "int8"), ("fp32",)),
    ],
)
def test_an_export_makes_engines_of_the_half_precisions_it_was_asked_for(asked: Any, engines: Any):
    assert engine_precisions(asked) == engines


def test_an_opset_that_tensorrt_does_not_read_whole_is_refused_before_any_work():
    with pytest.raises(ConfigError, match="--target needs --opset 22 or lower, got 23"):
        ExportRequest(model="m", opset=23, engine=EngineOptions(target="tensorrt-rtx"))
    ExportRequest(model="m", opset=23)
