"""The model repository, read back with Triton's own schema and held to the graph's signature."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from pool_export.runtime import triton
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.errors import BundleError, InputError
from pool_export.runtime.manifest import TensorInfo
from pool_export.runtime.triton import TritonOptions, model_name, triton_config, write_triton

pytestmark = pytest.mark.torch  # protobuf and tritonclient come with the dev extra

TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}


@pytest.fixture(scope="session")
def schema() -> Any:
    """Return Triton's messages; the client package itself would import grpc."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.fail("tritonclient is not installed; run `make install`")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def parsed(schema: Any) -> Callable[[Path], Any]:
    """Return `parsed(model)`: its configuration, every field known to the schema."""
    from google.protobuf import text_format

    return lambda folder: text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), schema.ModelConfig())


def check_signature(schema: Any, config: Any, folder: Path) -> None:
    """Hold names, types and dimensions to what onnxruntime says of the graph in the version folder."""
    session = onnxruntime.InferenceSession(str(folder / "1" / config.default_model_filename))
    for stated, found in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [item.name for item in stated] == [item.name for item in found]
        for item, value in zip(stated, found, strict=True):
            assert schema.DataType.Name(item.data_type) == TYPES[value.type]
            assert value.shape[0] == "batch_size"
            assert list(item.dims) == [size if isinstance(size, int) else -1 for size in value.shape[1:]]


@pytest.mark.parametrize(
    ("family", "head", "export"),
    [
        ("bert", "base", {}),
        ("bert", "sequence_3", {}),
        ("bert", "sequence_1", {}),
        ("bert", "token_5", {}),
        ("qwen3", "sequence_1", {"convert": "reward"}),
    ],
)
def test_the_configuration_has_the_signature_of_the_graph(
    tiny_bundle: Any, tmp_path: Path, schema: Any, parsed: Any, family: str, head: str, export: dict[str, Any]
):
    (folder,) = write_triton(open_bundle(tiny_bundle(family, head, export=export)), tmp_path, TritonOptions(name="m"))
    config = parsed(folder)
    assert (folder, config.name, config.backend) == (tmp_path / "m", "m", "onnxruntime")
    check_signature(schema, config, folder)


def test_two_towers_are_two_models(vision_bundle: Any, tmp_path: Path, schema: Any, parsed: Any):
    folders = write_triton(open_bundle(vision_bundle("clip")), tmp_path, TritonOptions(name="clip"))
    assert [folder.name for folder in folders] == ["clip", "clip_image"]
    for folder in folders:
        check_signature(schema, parsed(folder), folder)
    assert [item.name for item in parsed(folders[1]).input] == ["pixel_values"]


def test_options_reach_the_configuration(tiny_bundle: Any, tmp_path: Path, schema: Any, parsed: Any):
    chosen = TritonOptions(name="m", device="gpu", instances=2, max_batch_size=128, queue_delay_us=0)
    (folder,) = write_triton(open_bundle(tiny_bundle("bert")), tmp_path, chosen)
    config = parsed(folder)
    assert config.max_batch_size == 128
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert config.HasField("dynamic_batching")
    (group,) = config.instance_group
    assert (group.count, schema.ModelInstanceGroup.Kind.Name(group.kind)) == (2, "KIND_GPU")


def test_the_graph_is_linked_or_copied(tiny_bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bundle = open_bundle(tiny_bundle("bert"))
    original = bundle.path("onnx/model.onnx")
    (linked,) = write_triton(bundle, tmp_path, TritonOptions(name="linked"))
    assert (linked / "1/model.onnx").samefile(original)
    (copied,) = write_triton(bundle, tmp_path, TritonOptions(name="copied", copy=True))
    assert not (copied / "1/model.onnx").samefile(original)
    assert (copied / "1/model.onnx").read_bytes() == original.read_bytes()

    def another_file_system(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(triton.os, "link", another_file_system)
    (fallen_back,) = write_triton(bundle, tmp_path, TritonOptions(name="fallen-back"))
    assert (fallen_back / "1/model.onnx").read_bytes() == original.read_bytes()


def test_external_data_comes_along_under_its_name(small_external: Path, tmp_path: Path, schema: Any, parsed: Any):
    (folder,) = write_triton(open_bundle(small_external), tmp_path, TritonOptions(name="m"))
    assert sorted(path.name for path in (folder / "1").iterdir()) == ["model.onnx", "model.onnx_data"]
    check_signature(schema, parsed(folder), folder)


@pytest.fixture
def small_external(tiny_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a bundle whose weights lie beside the graph, as they do near two gigabytes."""
    from pool_export.export import write
    from pool_export.export.pipeline import export_model
    from pool_export.export.request import ExportRequest

    monkeypatch.setattr(write, "EXTERNAL_DATA_THRESHOLD", 1000)
    request = ExportRequest(model=str(tiny_folder("bert", layers=1)), output=tmp_path / "bundle")
    return export_model(request).folder


def test_a_model_is_replaced_by_force_and_nothing_else_is(tiny_bundle: Any, tmp_path: Path):
    bundle = open_bundle(tiny_bundle("bert"))
    write_triton(bundle, tmp_path, TritonOptions(name="m"))
    with pytest.raises(InputError, match="already holds a model; pass --force"):
        write_triton(bundle, tmp_path, TritonOptions(name="m"))
    (folder,) = write_triton(bundle, tmp_path, TritonOptions(name="m", max_batch_size=7, force=True))
    assert "max_batch_size: 7" in (folder / "config.pbtxt").read_text("utf-8")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/config.pbtxt").write_text('name: "theirs"')
    with pytest.raises(InputError, match="was not made by pool-export; it is never replaced"):
        write_triton(bundle, tmp_path, TritonOptions(name="theirs", force=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "theirs"]


def test_a_write_that_fails_leaves_nothing(tiny_bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(source: Path, target: Path, copy: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(triton, "_place", full)
    with pytest.raises(BundleError, match="No space left on device"):
        write_triton(open_bundle(tiny_bundle("bert")), tmp_path, TritonOptions(name="m"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "../up"}, "name must be letters"),
        ({"name": ""}, "name must be letters"),
        ({"device": "tpu"}, "device must be one of cpu, gpu, got 'tpu'"),
        ({"instances": 0}, "instances must be at least 1, got 0"),
        ({"queue_delay_us": -1}, "queue_delay_us must be at least 0, got -1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        TritonOptions(**options)


@pytest.mark.parametrize(
    ("source", "name"), [("org/my-model", "my-model"), ("a b/c d!", "c_d_"), ("./x/", "x"), ("..", "model"), ("é", "é")]
)
def test_names_come_from_the_source(tiny_bundle: Any, source: str, name: str):
    bundle = open_bundle(tiny_bundle("bert"))
    info = dataclasses.replace(bundle.manifest.source, id=source)
    found = model_name(dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, source=info)))
    assert found == name
    assert re.fullmatch(r"\w[\w.-]*", found)


def test_what_triton_cannot_batch_is_refused(tiny_bundle: Any):
    bundle = open_bundle(tiny_bundle("bert"))
    graph = bundle.manifest.graphs["fp32"]
    text = (TensorInfo(name="text", dtype="string", shape=(1,)),)
    with pytest.raises(InputError, match="text is string"):
        triton_config("m", dataclasses.replace(graph, inputs=text), bundle, TritonOptions())


def test_strings_are_quoted(tiny_bundle: Any, schema: Any):
    from google.protobuf import text_format

    bundle = open_bundle(tiny_bundle("bert"))
    graph = bundle.manifest.graphs["fp32"]
    odd = tuple(dataclasses.replace(item, name=f'a"b\\{item.name}') for item in graph.outputs)
    text = triton_config("m", dataclasses.replace(graph, outputs=odd), bundle, TritonOptions())
    assert [item.name for item in text_format.Parse(text, schema.ModelConfig()).output] == [item.name for item in odd]
