"""Engines of TensorRT for RTX, for a GPU that is not here; and full TensorRT's path, with that API behind it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx.helper
import pytest

from pool_export.export.engines import build
from pool_export.export.engines.build import Built, build_engine
from pool_export.export.engines.network import Order, build_plan
from pool_export.export.engines.options import EngineOptions
from pool_export.export.errors import ExportError
from pool_export.export.pipeline import export_model
from pool_export.export.reporting import SilentReporter
from pool_export.export.request import ExportRequest
from pool_export.poolers.errors import ConfigError
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.engines import library
from pool_export.runtime.engines.cuda import Gpu
from pool_export.runtime.engines.library import LIBRARIES, load_library
from pool_export.runtime.engines.profiles import parse_profiles
from pool_export.runtime.engines.record import Here, read_engine_record, read_plan, why_not
from pool_export.runtime.engines.validity import header_problems
from pool_export.runtime.errors import MissingExtraError, ProviderError

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")

ADA = EngineOptions(target="tensorrt-rtx", compute_capability=("8.9",))
EVERY = ("fp32", "fp16", "bf16")
# Random weights of two layers miss the bar of bf16; what is tested here is that the graphs are engines.
HALVES = {"precision": EVERY, "allow_mismatch": True}
Build = Callable[..., Built]


@pytest.fixture
def copied(tiny_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a bundle of a tiny BERT with an fp16 graph, to put engines into."""
    made = tiny_bundle("bert", export=HALVES, layers=1)
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def built(folder: Path, precision: str = "fp32", options: EngineOptions = ADA, **arguments: Any) -> Built:
    manifest = open_bundle(folder).manifest
    return build_engine(folder, manifest, precision, options, SilentReporter(), **arguments)  # type: ignore[arg-type]


def require_sound(folder: Path, made: Built, precision: str) -> None:
    """Read an engine back as the runtime does, as far as a machine without a GPU can."""
    loaded, record = load_library("tensorrt-rtx"), made.record
    graph = open_bundle(folder).manifest.graphs[precision]
    assert read_engine_record((folder / record.plan.path).with_suffix(".json")) == record
    plan = read_plan(folder, record)
    assert plan is not None
    assert len(plan) == record.plan.size
    assert header_problems(loaded, plan) == ()
    assert [(item.name, item.dtype) for item in record.inputs] == [(item.name, item.dtype) for item in graph.inputs]
    assert [(item.name, item.dtype) for item in record.outputs] == [(item.name, item.dtype) for item in graph.outputs]
    assert why_not(record.key, graph, Here(version=loaded.version, capability="8.9")) is None


@pytest.mark.parametrize("family", ["bert", "modernbert", "qwen3", "gemma3_text"])
def test_every_kind_of_backbone_becomes_an_engine_in_every_precision(
    family: str, tiny_bundle: Callable[..., Path], tmp_path: Path
):
    folder = Path(shutil.copytree(tiny_bundle(family, export=HALVES, layers=1), tmp_path / "bundle"))
    sizes = {}
    for precision in EVERY:
        made = built(folder, precision)
        assert not made.reused
        assert made.record.key.precision == precision
        assert made.record.plan.path == f"engines/tensorrt-rtx_{precision}_sm89.plan"
        require_sound(folder, made, precision)
        sizes[precision] = made.record.plan.size
    longest = open_bundle(folder).manifest.tokenizer.max_length
    assert [item.max[1] for item in made.record.key.profiles[:2]] == [longest, min(longest, 512)]


def test_minilm_becomes_an_engine(minilm_bundle: Path, tmp_path: Path):
    folder = Path(shutil.copytree(minilm_bundle, tmp_path / "bundle"))
    made = built(folder, options=dataclasses.replace(ADA, profiles=parse_profiles("1x1:8x64:64x256")))
    require_sound(folder, made, "fp32")
    assert made.record.plan.size > 80_000_000
    assert made.record.outputs[0].name == "sentence_embedding"


@pytest.mark.slow
def test_minilm_becomes_an_engine_in_half_precision_with_the_export(minilm_folder: Path, tmp_path: Path):
    request = ExportRequest(
        model=str(minilm_folder),
        output=tmp_path / "out",
        precision=("fp16", "bf16"),
        engine=EngineOptions(target=ADA.target),
    )
    result = export_model(request)
    assert [made.record.key.name for made in result.engines] == [
        "tensorrt-rtx_fp16_sm80plus",
        "tensorrt-rtx_bf16_sm80plus",
    ]
    for made in result.engines:
        require_sound(tmp_path / "out", made, made.record.key.precision)
        assert made.record.plan.size < 70_000_000  # half of what float32 takes


@pytest.mark.parametrize("head", ["sequence_3", "token_5"])
def test_classifiers_become_engines_too(head: str, tiny_bundle: Callable[..., Path], tmp_path: Path):
    folder = Path(shutil.copytree(tiny_bundle("bert", head, layers=1), tmp_path / "bundle"))
    made = built(folder)
    require_sound(folder, made, "fp32")
    assert [item.name for item in made.record.outputs] == ["logits", "probs"]


@pytest.mark.parametrize(("precision", "half"), [("fp32", None), ("fp16", "HALF"), ("bf16", "BF16")])
def test_the_arithmetic_is_what_the_graph_says(precision: str, half: str | None, copied: Path):
    loaded = load_library("tensorrt-rtx")
    trt = loaded.api
    network = trt.Builder(loaded.log).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    name = open_bundle(copied).manifest.graphs[precision].files[0].path
    parser = trt.OnnxParser(network, loaded.log)
    assert parser.parse_from_file(str(copied / name))
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    products = [layer for layer in layers if layer.type == trt.LayerType.MATRIX_MULTIPLY]
    kinds = {layer.get_output(0).dtype.name for layer in products}
    assert half in kinds if half else kinds == {"FLOAT"}
    assert kinds <= {"FLOAT", half}


def test_an_engine_that_is_there_is_not_built_again(copied: Path):
    first = built(copied)
    stamp = (copied / first.record.plan.path).stat().st_mtime_ns
    again = built(copied)
    assert again == Built(first.record, reused=True)
    assert (copied / first.record.plan.path).stat().st_mtime_ns == stamp
    forced = built(copied, force=True)
    assert not forced.reused


@pytest.mark.parametrize(
    "change",
    [
        {"profiles": parse_profiles("1x1:1x8:1x128,1x1:8x32:8x128")},
        {"workspace": 1 << 28},
    ],
    ids=["profiles", "workspace"],
)
def test_another_profile_or_flag_is_another_engine(change: dict[str, Any], copied: Path):
    first = built(copied)
    second = built(copied, options=dataclasses.replace(ADA, **change))
    assert not second.reused
    assert second.record.key != first.record.key
    assert second.record.plan.path == first.record.plan.path
    assert not built(copied).reused


def test_other_gpus_are_engines_beside_it(copied: Path):
    made = [
        built(copied, options=EngineOptions(target="tensorrt-rtx", compute_capability=names))
        for names in ((), ("8.9",), ("8.6", "12.0"))
    ]
    assert [item.record.key.name for item in made] == [
        "tensorrt-rtx_fp32_sm80plus",
        "tensorrt-rtx_fp32_sm89",
        "tensorrt-rtx_fp32_sm86-sm120",
    ]
    assert built(copied, options=ADA).reused


def test_another_graph_or_version_or_a_damaged_file_is_built_again(copied: Path, monkeypatch: pytest.MonkeyPatch):
    first = built(copied)
    plan = copied / first.record.plan.path
    plan.write_bytes(plan.read_bytes()[:-100])
    assert not built(copied).reused
    (copied / "engines" / f"{first.record.key.name}.json").write_text("{}")
    assert not built(copied).reused
    manifest = open_bundle(copied).manifest
    half = dataclasses.replace(manifest, graphs={"fp32": manifest.graphs["fp16"]})
    assert not build_engine(copied, half, "fp32", ADA, SilentReporter()).reused
    assert not built(copied).reused
    monkeypatch.setattr(load_library("tensorrt-rtx"), "version", "1.8.0.0")
    again = built(copied)
    assert not again.reused
    assert again.record.key.library_version == "1.8.0.0"


# ------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("profiles", "part"),
    [
        ("1x1:1x64:8x256", "--profiles: profile 1x1:1x64:8x256 goes to length 256, the model's longest is 128"),
        ("1x1:1x16:8x32", "--profiles: no profile takes one text of 33 tokens"),
        ("2x1:2x16:8x128", "--profiles: no profile takes one text of 1 tokens"),
    ],
)
def test_profiles_that_do_not_fit_the_model_are_refused(profiles: str, part: str, copied: Path):
    with pytest.raises(ConfigError) as caught:
        built(copied, options=dataclasses.replace(ADA, profiles=parse_profiles(profiles)))
    assert part in str(caught.value)
    assert not (copied / "engines").exists()


def test_a_gpu_the_library_does_not_know_is_refused_with_those_it_does(copied: Path):
    with pytest.raises(ExportError, match=r"builds for compute capability 7\.5, 8\.0, .*, not for 9\.0"):
        built(copied, options=EngineOptions(target="tensorrt-rtx", compute_capability=("9.0",)))


def test_graphs_that_no_engine_is_made_of_are_refused(copied: Path):
    manifest = open_bundle(copied).manifest
    with pytest.raises(ConfigError, match="an engine is made in fp32, fp16, bf16, got int8"):
        build_engine(copied, manifest, "int8", ADA, SilentReporter())
    graph = manifest.graphs["fp32"]
    for change, part in (
        ({"operators": {"com.microsoft.Attention": 2}}, r"outside the ONNX standard \(com.microsoft.Attention\)"),
        ({"opset": 23}, "of opset 22 or lower, the graph has 23"),
    ):
        other = dataclasses.replace(manifest, graphs={"fp32": dataclasses.replace(graph, **change)})
        with pytest.raises(ConfigError, match=part):
            build_engine(copied, other, "fp32", ADA, SilentReporter())


def test_what_tensorrt_cannot_read_is_one_line_with_the_node(tmp_path: Path):
    ids = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["b", "s"])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT64, None)
    node = onnx.helper.make_node("BitwiseXor", ["input_ids", "input_ids"], ["y"], name="odd")
    graph = onnx.helper.make_graph([node], "g", [ids], [out])
    path = tmp_path / "odd.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    order = Order(graph=path, profiles=parse_profiles("1x1:1x8:1x8"), compute_capabilities=("8.9",))
    with pytest.raises(ExportError) as caught:
        build_plan(load_library("tensorrt-rtx"), order)
    text = str(caught.value)
    assert text.startswith("TensorRT for RTX 1.7.1.116 cannot read odd.onnx: node odd (BitwiseXor): ")
    assert "\n" not in text
    path.write_bytes(b"not a graph")
    with pytest.raises(ExportError, match=r"cannot read odd\.onnx: \w"):
        build_plan(load_library("tensorrt-rtx"), order)


def test_an_engine_that_cannot_be_built_says_why(copied: Path):
    order = Order(graph=copied / "onnx/model.onnx", profiles=(), compute_capabilities=("8.9",))
    with pytest.raises(
        ExportError, match=r"built no engine of model\.onnx: .*no optimization profile has been defined"
    ):
        build_plan(load_library("tensorrt-rtx"), order)


def test_an_interrupted_write_leaves_no_engine(copied: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ExportError, match="cannot be written: No space left on device"):
        built(copied)
    assert list((copied / "engines").iterdir()) == []


class Stopped(BaseException):
    pass


@pytest.fixture
def stops() -> Iterator[None]:
    """Let SIGALRM raise ``Stopped``, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_signal_ends_a_build_and_leaves_nothing(stops: None, minilm_bundle: Path, tmp_path: Path):
    folder = Path(shutil.copytree(minilm_bundle, tmp_path / "bundle"))
    many = ",".join(["1x1:1x64:1x256", *(f"1x1:{rows}x64:{rows}x256" for rows in range(2, 40))])
    options = dataclasses.replace(ADA, profiles=parse_profiles(many), compute_capability=("8.0", "8.6", "8.9", "12.0"))
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    with pytest.raises(Stopped):
        built(folder, options=options)
    assert time.monotonic() - began < 60
    assert not (folder / "engines").exists()


@pytest.mark.parametrize("message", [1, 20])
def test_a_signal_while_tensorrt_writes_its_log_is_not_lost(message: int, stops: None, copied: Path):
    """A handler that ran inside TensorRT's call to the logger had its exception swallowed, or the process ended."""
    loaded = load_library("tensorrt-rtx")
    heard = []

    class Listener(loaded.api.ILogger):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            loaded.api.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            heard.append(text)
            if len(heard) == message:
                os.kill(os.getpid(), signal.SIGALRM)

    other = library.Loaded(loaded.about, loaded.api)
    other.log = Listener()
    order = Order(
        graph=copied / "onnx/model.onnx", profiles=parse_profiles("1x1:1x8:1x8"), compute_capabilities=("8.9",)
    )
    with pytest.raises(Stopped):
        build_plan(other, order)
    assert len(heard) >= message


def test_full_tensorrt_needs_a_gpu_and_says_which_library_does_not(copied: Path, monkeypatch: pytest.MonkeyPatch):
    pretend_full(monkeypatch, Gpu("A GPU", "8.9"))

    def none(cuda: Any) -> Gpu:
        raise ProviderError("no NVIDIA GPU can be used here: CUDA: no device")

    monkeypatch.setattr(build, "find_gpu", none)
    with pytest.raises(ProviderError, match=r"builds for: no NVIDIA GPU .*; --target tensorrt-rtx needs none"):
        built(copied, options=EngineOptions(target="tensorrt"))


# --------------------------------------------------------------- full TensorRT's own: its GPU, its timing cache


def pretend_full(monkeypatch: pytest.MonkeyPatch, gpu: Gpu) -> None:
    """Let the library that is here stand in for full TensorRT, and a GPU be there."""
    there = dataclasses.replace(LIBRARIES["tensorrt"], module="tensorrt_rtx_bindings")
    monkeypatch.setitem(library.LIBRARIES, "tensorrt", there)
    monkeypatch.setattr(build, "find_gpu", lambda cuda: gpu)
    monkeypatch.setattr(build, "load_cuda", lambda extra: None)


@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops.*:DeprecationWarning")
def test_timings_are_kept_and_read_again(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pretend_full(monkeypatch, Gpu("A GPU", "8.9"))
    timings = tmp_path / "deep" / "timings"
    options = EngineOptions(target="tensorrt", timing_cache=str(timings), hardware_compatible=True)
    made = built(copied, options=options)
    assert (made.record.key.gpu, made.record.key.compute_capabilities) == ("A GPU", ("8.9",))
    assert made.record.key.hardware_compatible
    assert made.record.plan.path == "engines/tensorrt_fp32_sm89.plan"
    assert timings.stat().st_size > 0
    read = []
    api = load_library("tensorrt").api
    monkeypatch.setattr(api.IBuilderConfig, "create_timing_cache", _watch(read, api.IBuilderConfig.create_timing_cache))
    assert not built(copied, options=options, force=True).reused
    assert read == [timings.read_bytes()]
    assert built(copied, options=options).reused
    pretend_full(monkeypatch, Gpu("Another GPU of the kind", "8.9"))
    assert not built(copied, options=options).reused


def _watch(read: list[bytes], original: Callable[..., Any]) -> Callable[..., Any]:
    def create(config: Any, data: bytes) -> Any:
        read.append(bytes(data))
        return original(config, data)

    return create


class Config:
    """A builder configuration that refuses the timings of another GPU, as full TensorRT does."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def create_timing_cache(self, data: bytes) -> bytes | None:
        return data

    def set_timing_cache(self, timings: bytes, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if timings and not timings.startswith(b"here"):
            return False
        self.taken.append(timings)
        return True


@pytest.mark.parametrize(("stored", "taken", "noted"), [(b"here 1", b"here 1", 0), (b"there 1", b"", 1)])
def test_the_timings_of_another_gpu_are_replaced_with_a_note(stored: bytes, taken: bytes, noted: int, tmp_path: Path):
    from pool_export.export.engines.network import _use_timings

    path = tmp_path / "timings"
    path.write_bytes(stored)
    config = Config()
    notes = _use_timings(None, config, path)
    assert (config.taken, len(notes)) == ([taken], noted)


# ------------------------------------------------------------------------------------------ with the export


def test_an_export_writes_its_engines_with_the_bundle(tiny_folder: Callable[..., Path], tmp_path: Path):
    target = tmp_path / "out"
    request = ExportRequest(
        model=str(tiny_folder("bert")), output=target, precision=("fp16", "bf16"), engine=ADA, allow_mismatch=True
    )
    result = export_model(request)
    assert [made.record.key.precision for made in result.engines] == ["fp16", "bf16"]
    for made, precision in zip(result.engines, ("fp16", "bf16"), strict=True):
        require_sound(target, made, precision)
    assert sorted(item.suffix for item in (target / "engines").iterdir()) == [".json", ".json", ".plan", ".plan"]


def test_an_export_whose_engine_cannot_be_leaves_nothing(tiny_folder: Callable[..., Path], tmp_path: Path):
    for options, kind in (
        (dataclasses.replace(ADA, profiles=parse_profiles("1x1:1x64:8x100000")), ConfigError),
        (EngineOptions(target="tensorrt-rtx", compute_capability=("9.9",)), ExportError),
    ):
        with pytest.raises(kind):
            export_model(ExportRequest(model=str(tiny_folder("bert")), output=tmp_path / "out", engine=options))
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_an_image_tower_is_refused_before_its_weights_are_loaded(
    vision_folder: Callable[..., Path], vision_bundle: Callable[[str], Path], tmp_path: Path
):
    folder = vision_folder("clip")
    with pytest.raises(ConfigError, match="a model with an image tower has no engine"):
        export_model(ExportRequest(model=str(folder), output=tmp_path / "out", engine=ADA))
    with pytest.raises(ConfigError, match="a model with an image tower has no engine"):
        built(vision_bundle("clip"))
    assert list(tmp_path.iterdir()) == []


def test_an_export_asks_for_the_library_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    request = ExportRequest(model=str(tmp_path / "nowhere"), engine=EngineOptions(target="tensorrt"))
    with pytest.raises(
        MissingExtraError, match=r"TensorRT is not installed; run: pip install 'pool-export\[tensorrt\]'"
    ):
        export_model(request)
