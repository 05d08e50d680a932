"""Whether an engine may run here: everything that decides, one at a time."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pool_export.runtime.engines.profiles import parse_profiles
from pool_export.runtime.engines.record import (
    FORMAT,
    EngineKey,
    EngineRecord,
    Here,
    find_engine,
    read_engine_record,
    read_plan,
    this_platform,
    why_not,
)
from pool_export.runtime.errors import ProviderError
from pool_export.runtime.manifest import FileInfo, GraphInfo, TensorInfo

IDS = TensorInfo(name="input_ids", dtype="int64", shape=("batch_size", "sequence_length"))
GRAPH = GraphInfo(files=(FileInfo(path="onnx/model.onnx", size=1, sha256="aa"),), opset=20, inputs=(IDS,), outputs=())
KEY = EngineKey(
    target="tensorrt",
    precision="fp16",
    graph=("aa",),
    library_version="11.4.0.106",
    compute_capabilities=("8.9",),
    gpu="A GPU",
    platform=this_platform(),
    profiles=parse_profiles("1x1:1x64:8x512"),
)
HERE = Here(version="11.4.0.106", capability="8.9")


def write(folder: Path, key: EngineKey = KEY, data: bytes = b"engine", **other: Any) -> EngineRecord:
    (folder / "engines").mkdir(exist_ok=True)
    plan = FileInfo(path=f"engines/{key.name}.plan", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    record = EngineRecord(
        format=FORMAT, key=key, inputs=(IDS,), outputs=(), plan=plan, created="2026-11-28", seconds=1.5
    )
    record = dataclasses.replace(record, **other)
    (folder / record.plan.path).write_bytes(data)
    (folder / "engines" / f"{key.name}.json").write_bytes(msgspec.json.encode(record))
    return record


def test_an_engine_of_this_graph_library_and_gpu_may_run(tmp_path: Path):
    record = write(tmp_path)
    assert find_engine(tmp_path, "tensorrt", "fp16", GRAPH, HERE) == record
    assert read_plan(tmp_path, record) == b"engine"


@pytest.mark.parametrize(
    ("change", "here", "reason"),
    [
        ({"graph": ("bb",)}, {}, "it was built from another graph"),
        ({"graph": ("aa", "cc")}, {}, "it was built from another graph"),
        ({"platform": "Windows AMD64"}, {}, "it was built for Windows AMD64"),
        ({}, {"version": "11.3.0.1"}, "it was built with version 11.4.0.106, here is 11.3.0.1"),
        ({}, {"version": "11.5.0.1"}, "it was built with version 11.4.0.106, here is 11.5.0.1"),
        ({"version_compatible": True}, {"version": "11.5.0.1"}, None),
        ({"version_compatible": True}, {"version": "11.3.0.1"}, "here is 11.3.0.1"),
        ({"version_compatible": True}, {"version": "12.0.0.1"}, "here is 12.0.0.1"),
        ({"version_compatible": True, "target": "tensorrt-rtx"}, {"version": "11.5.0.1"}, "here is 11.5.0.1"),
        ({}, {"capability": "9.0"}, "it was built for compute capability 8.9, this GPU has 9.0"),
        ({"hardware_compatible": True}, {"capability": "9.0"}, None),
        ({"hardware_compatible": True}, {"capability": "7.5"}, "this GPU has 7.5"),
        ({"compute_capabilities": ()}, {"capability": "12.0"}, None),
        ({"compute_capabilities": ()}, {"capability": "7.5"}, "for compute capability 8.0 and newer, this GPU has 7.5"),
        ({"compute_capabilities": ("7.5", "12.0")}, {"capability": "12.0"}, None),
    ],
)
def test_everything_that_decides_is_compared(change: dict[str, Any], here: dict[str, str], reason: str | None):
    found = why_not(dataclasses.replace(KEY, **change), GRAPH, dataclasses.replace(HERE, **here))
    assert found is None if reason is None else reason in str(found)


def test_no_engine_is_an_error_that_says_how_to_build_one(tmp_path: Path):
    with pytest.raises(ProviderError) as caught:
        find_engine(tmp_path, "tensorrt", "fp16", GRAPH, HERE)
    assert str(caught.value) == (
        "device 'tensorrt': the bundle has no fp16 engine; build one: "
        f"pool-export engine {tmp_path} --target tensorrt --precision fp16"
    )
    write(tmp_path)
    with pytest.raises(ProviderError, match=r"has no fp32 engine \(there are: fp16\); build one"):
        find_engine(tmp_path, "tensorrt", "fp32", GRAPH, HERE)


def test_refused_engines_are_named_with_their_reasons_and_a_good_one_is_found_beside_them(tmp_path: Path):
    write(tmp_path, dataclasses.replace(KEY, compute_capabilities=("8.0",)))
    (tmp_path / "engines" / "tensorrt_fp16_sm86.json").write_text("{")
    with pytest.raises(ProviderError) as caught:
        find_engine(tmp_path, "tensorrt", "fp16", GRAPH, HERE)
    assert "engines/tensorrt_fp16_sm80: it was built for compute capability 8.0, this GPU has 8.9" in str(caught.value)
    assert "engines/tensorrt_fp16_sm86: its description is damaged" in str(caught.value)
    good = write(tmp_path)
    assert find_engine(tmp_path, "tensorrt", "fp16", GRAPH, HERE) == good


def test_a_plan_that_is_not_the_one_described_is_none(tmp_path: Path):
    record = write(tmp_path)
    plan = tmp_path / record.plan.path
    plan.write_bytes(b"engin")
    assert read_plan(tmp_path, record) is None
    plan.unlink()
    assert read_plan(tmp_path, record) is None


def test_a_description_cannot_point_out_of_its_folder(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"engine")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    record = write(bundle)
    outside = dataclasses.replace(record, plan=dataclasses.replace(record.plan, path="../secret"))
    assert read_plan(bundle, outside) is None


def test_a_description_of_another_format_describes_nothing(tmp_path: Path):
    write(tmp_path, format=FORMAT + 1)
    assert read_engine_record(tmp_path / "engines" / f"{KEY.name}.json") is None
