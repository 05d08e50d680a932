"""`device="tensorrt"` on the stand-in GPU of conftest.py: the whole runtime, and what reaches the library."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export import LLM
from pool_export.runtime.admission import admit
from pool_export.runtime.backends import tensor_rt
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.engine import Engine
from pool_export.runtime.engines.cuda import load_cuda
from pool_export.runtime.engines.library import load_library
from pool_export.runtime.engines.profiles import parse_profiles
from pool_export.runtime.errors import MissingExtraError, ProviderError, RuntimeFailure
from pool_export.runtime.replay import replay
from pool_export.runtime.session import Session

from . import conftest

Bundles = Callable[..., Path]
TEXTS = ["one text", "a longer text than the first one", "two", "three words here", "and " * 40]


def feeds(rows: int, length: int) -> dict[str, np.ndarray]:
    ids = np.arange(rows * length).reshape(rows, length) % 50 + 5
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def opened(folder: Path, **config: Any) -> Session:
    return Session(open_bundle(folder), RuntimeConfig(**{"device": "tensorrt", **config}))


def on_cpu(folder: Path) -> Session:
    return Session(open_bundle(folder), RuntimeConfig(device="cpu", threads=1))


def require_same(session: Session, folder: Path, batch: dict[str, np.ndarray], outputs: list[str]) -> None:
    found, wanted = session.run(batch, outputs), on_cpu(folder).run(batch, outputs)
    assert list(found) == outputs
    for name in outputs:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)


@pytest.mark.parametrize("head", ["base", "sequence_3", "token_5"])
def test_golden_vectors_agree_through_an_engine(head: str, tiny_bundle: Bundles, with_engine: Bundles, gpu):
    folder = with_engine(tiny_bundle("bert", head))
    engine = Engine(open_bundle(folder), RuntimeConfig(device="tensorrt"))
    result = replay(engine)
    assert result.passed, result.failures
    assert result.cases > 20
    assert (engine.session.device, engine.session.precision, engine.session.on_cpu) == ("tensorrt", "fp32", False)
    assert engine.session.backend.version.startswith("tensorrt 11.4.0.106 on Stand-in GPU, engine ")


def test_users_run_an_engine_as_any_device(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    folder = with_engine(tiny_bundle("bert"))
    found = [row.outputs.embedding for row in LLM(folder, device="tensorrt").embed(TEXTS)]
    wanted = [row.outputs.embedding for row in LLM(folder, device="cpu", threads=1).embed(TEXTS)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert any(line.startswith("pass ") for line in gpu.log)


def test_only_the_wanted_outputs_are_copied_back(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    folder = with_engine(tiny_bundle("bert"))
    session = opened(folder)
    gpu.log.clear()
    require_same(session, folder, feeds(2, 7), ["sentence_embedding"])
    assert gpu.log == ["copy to device 112"] * 3 + ["pass (2, 7) profile 1", "copy to host 256"]
    require_same(session, folder, feeds(2, 7), ["last_hidden_state", "sentence_embedding"])


def test_everything_slow_happens_when_it_is_opened(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    opened(with_engine(tiny_bundle("bert")))
    assert [line for line in gpu.log if line.startswith("pass")] == [
        "pass (1, 64) profile 0",
        "pass (64, 128) profile 1",
    ]


def test_the_profile_follows_the_shape_and_large_batches_go_in_parts(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    folder = with_engine(tiny_bundle("bert"), profiles=parse_profiles("1x1:1x8:1x128,1x1:2x16:4x32,2x1:8x16:8x32"))
    session = opened(folder)
    for rows, length, passes in [
        (1, 100, ["(1, 100) profile 0"]),
        (3, 16, ["(3, 16) profile 1"]),
        (8, 16, ["(8, 16) profile 2"]),
        (17, 20, ["(8, 20) profile 2", "(8, 20) profile 2", "(1, 20) profile 1"]),
        (2, 33, ["(1, 33) profile 0"] * 2),
    ]:
        gpu.log.clear()
        require_same(session, folder, feeds(rows, length), ["sentence_embedding", "last_hidden_state"])
        assert [line.removeprefix("pass ") for line in gpu.log if line.startswith("pass")] == passes


def test_a_shape_that_recurs_becomes_a_cuda_graph(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    folder = with_engine(tiny_bundle("bert"))
    session = opened(folder)
    for _ in range(3):
        require_same(session, folder, feeds(2, 7), ["sentence_embedding"])
    assert gpu.log[-1] == "graph made"
    for shape in [(2, 7), (3, 5), (2, 7)]:  # the graph holds whatever comes between
        gpu.log.clear()
        batch = feeds(*shape)
        batch["input_ids"] = batch["input_ids"][:, ::-1].copy()
        require_same(session, folder, batch, ["sentence_embedding", "last_hidden_state"])
        assert ("graph launched" in gpu.log) == (shape == (2, 7))


def test_where_capturing_fails_it_runs_without_and_says_so_once(
    tiny_bundle: Bundles, with_engine: Bundles, gpu, caplog: pytest.LogCaptureFixture
):
    folder = with_engine(tiny_bundle("bert"))
    gpu.capture_fails = True
    session = opened(folder)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            require_same(session, folder, feeds(2, 7), ["sentence_embedding"])
    assert [record.message for record in caplog.records] == [
        "this engine runs without CUDA graphs: CUDA: operation not permitted when stream is capturing "
        "(cudaStreamBeginCapture)"
    ]
    assert "graph launched" not in gpu.log


def test_streams_have_memory_of_their_own_and_share_the_engine(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    from concurrent.futures import ThreadPoolExecutor

    folder = with_engine(tiny_bundle("bert"))
    session = opened(folder, streams=3)
    assert (session.streams, len(gpu.queued)) == (3, 3)
    batches = [feeds(1 + index % 4, 3 + index % 5) for index in range(24)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda batch: session.run(batch, ["sentence_embedding"]), batches))
    for batch, values in zip(batches, found, strict=True):
        wanted = on_cpu(folder).run(batch, ["sentence_embedding"])
        np.testing.assert_allclose(values["sentence_embedding"], wanted["sentence_embedding"], atol=1e-5)


def test_a_closed_lane_leaves_no_memory(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    session = opened(with_engine(tiny_bundle("bert")))
    session.run(feeds(2, 7), ["sentence_embedding"])
    assert gpu.live
    session.backend._free.get().close()
    assert (gpu.live, gpu.queued) == ({}, {})


# ------------------------------------------------------------------------------------------- TensorRT for RTX


def test_compiled_kernels_are_kept_and_read_again(
    tiny_bundle: Bundles, with_engine: Bundles, gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path / "cache"))
    api = tensor_rt.load_library("tensorrt-rtx").api
    folder = with_engine(tiny_bundle("bert"), target="tensorrt-rtx", compute_capabilities=())
    require_same(opened(folder, device="tensorrt-rtx"), folder, feeds(2, 7), ["sentence_embedding"])
    (path,) = (tmp_path / "cache" / "kernels").iterdir()
    assert path.read_bytes() == b"kernels of this GPU"
    assert api.kernels == []
    opened(folder, device="tensorrt-rtx")
    assert api.kernels == [b"kernels of this GPU"]
    path.write_bytes(b"of another driver")
    opened(folder, device="tensorrt-rtx")
    assert path.read_bytes() == b"kernels of this GPU"


def test_kernels_that_cannot_be_kept_are_no_error(
    tiny_bundle: Bundles, with_engine: Bundles, gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path / "cache"))
    folder = with_engine(tiny_bundle("bert"), target="tensorrt-rtx")
    require_same(opened(folder, device="tensorrt-rtx"), folder, feeds(2, 7), ["sentence_embedding"])


def test_nothing_is_captured_while_a_kernel_is_being_compiled(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    api = tensor_rt.load_library("tensorrt-rtx").api
    folder = with_engine(tiny_bundle("bert"), target="tensorrt-rtx")
    session = opened(folder, device="tensorrt-rtx")
    api.compiling = True
    for _ in range(5):
        require_same(session, folder, feeds(2, 7), ["sentence_embedding"])
    assert "graph made" not in gpu.log
    api.compiling = False
    for _ in range(2):
        require_same(session, folder, feeds(2, 7), ["sentence_embedding"])
    assert gpu.log[-5:-1] == ["copy to device 112"] * 3 + ["graph launched"]


# ------------------------------------------------------------------------------------------- what is refused


def test_an_engine_that_answers_something_else_is_not_admitted(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    folder = with_engine(tiny_bundle("bert", "sequence_3"), error=1e-3)
    with pytest.raises(ProviderError, match="disagrees with the golden vectors"):
        LLM(folder, device="tensorrt")
    with_engine(folder)  # what is kept of the check is kept by engine
    admit(Engine(open_bundle(folder), RuntimeConfig(device="tensorrt")))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"graph": "x"}, "it was built from another graph"),
        ({"library_version": "11.3.0.1"}, "it was built with version 11.3.0.1, here is 11.4.0.106"),
        ({"compute_capabilities": ("9.0",)}, "it was built for compute capability 9.0, this GPU has 8.9"),
    ],
)
def test_a_foreign_engine_is_refused_with_the_reason(
    changes: dict[str, Any], part: str, tiny_bundle: Bundles, with_engine: Bundles, gpu
):
    changes = {"graph_hash": changes["graph"]} if "graph" in changes else changes
    folder = _foreign(with_engine, tiny_bundle("bert"), changes)
    with pytest.raises(ProviderError) as caught:
        LLM(folder, device="tensorrt")
    assert part in str(caught.value)
    assert f"build one: pool-export engine {folder} --target tensorrt --precision fp32" in str(caught.value)


def _foreign(with_engine: Bundles, bundle: Path, changes: dict[str, Any]) -> Path:
    if "graph_hash" not in changes:
        return with_engine(bundle, **changes)
    folder = with_engine(bundle)
    (path,) = (folder / "engines").glob("*.json")
    sha = open_bundle(folder).manifest.graphs["fp32"].files[0].sha256
    path.write_text(path.read_text().replace(sha, "0" * 64))
    return folder


def test_a_cut_off_engine_is_refused(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    folder = with_engine(tiny_bundle("bert"))
    (plan,) = (folder / "engines").glob("*.plan")
    plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(ProviderError, match="is missing, cut short or changed; build it again: pool-export engine"):
        opened(folder)


def test_an_engine_the_library_does_not_load_is_refused_with_its_reason(
    tiny_bundle: Bundles, with_engine: Bundles, gpu
):
    folder = with_engine(tiny_bundle("bert"), data=b"not an engine")
    with pytest.raises(ProviderError, match=r"cannot load engines/.*: deserialize: Error Code 1: not an engine; build"):
        opened(folder)


def test_an_engine_with_other_bindings_than_described_is_refused(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    other = tiny_bundle("bert", "sequence_3")
    folder = with_engine(tiny_bundle("bert"), graph=str(other / "onnx/model.onnx"))
    with pytest.raises(ProviderError, match="has bindings attention_mask, input_ids, logits"):
        opened(folder)


def test_a_gpu_without_room_is_an_error(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    gpu.left = 1000
    with pytest.raises(ProviderError, match="CUDA: out of memory"):
        opened(with_engine(tiny_bundle("bert")))


def test_host_code_runs_only_in_engines_that_are_version_compatible(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    api = tensor_rt.load_library("tensorrt").api
    folder = with_engine(tiny_bundle("bert"))
    opened(folder)
    assert not api.host_code_allowed
    with_engine(folder, version_compatible=True)
    opened(folder)
    assert api.host_code_allowed


def test_inputs_of_different_shapes_are_refused(tiny_bundle: Bundles, with_engine: Bundles, gpu):
    session = opened(with_engine(tiny_bundle("bert")))
    batch = feeds(2, 7)
    batch["attention_mask"] = batch["attention_mask"][:, :-1]
    with pytest.raises(RuntimeFailure, match="the inputs have different shapes"):
        session.run(batch, ["sentence_embedding"])


def test_a_missing_library_is_named_with_its_extra(tiny_bundle: Bundles, monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        MissingExtraError, match=r"TensorRT is not installed; run: pip install 'pool-export\[tensorrt\]'"
    ):
        LLM(tiny_bundle("bert"), device="tensorrt")


# -------------------------------------------------------------------- the stand-in is made of what is really there


def test_the_stand_in_has_no_name_that_cuda_has_not():
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    real = load_cuda("tensorrt-rtx")
    names = [name for name in dir(conftest.StandInCuda) if name.startswith("cuda") and name[4].isupper()]
    assert len(names) > 15
    assert [name for name in names if not hasattr(real, name)] == []
    for kind in ("cudaMemcpyKind", "cudaStreamCaptureMode"):
        assert all(hasattr(getattr(real, kind), name) for name in vars(getattr(conftest.StandInCuda, kind)))


def test_the_stand_in_has_no_name_that_tensorrt_has_not():
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    real = load_library("tensorrt-rtx").api
    for mine, theirs in (
        (conftest.Runtime, real.Runtime),
        (conftest.Engine, real.ICudaEngine),
        (conftest.Context, real.IExecutionContext),
        (conftest.RtxContext, real.IExecutionContext),
        (conftest.RuntimeConfig, real.IRuntimeConfig),
        (conftest.RuntimeCache, real.IRuntimeCache),
    ):
        assert [name for name in vars(mine) if not name.startswith("_") and not hasattr(theirs, name)] == []
    assert hasattr(real.Runtime, "engine_host_code_allowed")
    assert hasattr(real.ICudaEngine, "num_io_tensors")
