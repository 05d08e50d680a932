"""Engines where they run: built, kept, loaded again, refused, and repeated as CUDA graphs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pool_export import LLM
from pool_export.export.engines.build import build_engine
from pool_export.export.engines.options import EngineOptions
from pool_export.export.reporting import SilentReporter
from pool_export.runtime.backends.tensor_rt import TensorRtBackend
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.cache import cache_folder
from pool_export.runtime.engines.library import LIBRARIES
from pool_export.runtime.errors import ProviderError

from .conftest import Bundles, Device

pytestmark = [pytest.mark.gpu, pytest.mark.torch]

TEXTS = ["one text", "a longer text than the first one", "two"]


def vectors(llm: LLM, texts: list[str]) -> np.ndarray:
    return np.array([row.outputs.embedding for row in llm.embed(texts)])


@pytest.fixture(params=list(LIBRARIES))
def target(request: pytest.FixtureRequest, need: Device) -> str:
    need(request.param)
    return str(request.param)


def test_an_engine_is_built_once_and_runs_in_a_fresh_process(target: str, on_gpu: Bundles, tmp_path: Path):
    folder = on_gpu("embed", target, "fp16")
    options = EngineOptions(target=target)
    again = build_engine(folder, open_bundle(folder).manifest, "fp16", options, SilentReporter())
    assert again.reused
    out = tmp_path / "vectors.npy"
    words = ["embed", folder, *TEXTS, "--device", target, "--precision", "fp16", "--output", out]
    subprocess.run([sys.executable, "-m", "pool_export", *map(str, words)], check=True, timeout=300)
    found = vectors(LLM(folder, device=target, precision="fp16"), TEXTS)
    np.testing.assert_allclose(np.load(out), found, atol=2e-3)


def test_a_damaged_or_foreign_engine_is_refused(target: str, on_gpu: Bundles, tmp_path: Path):
    folder = Path(shutil.copytree(on_gpu("embed", target, "fp32"), tmp_path / "bundle"))
    (path,) = (folder / "engines").glob(f"{target}_fp32_*.json")
    text = path.read_text()
    path.write_text(text.replace('"library_version": "', '"library_version": "0.'))
    with pytest.raises(ProviderError, match="it was built with version 0"):
        LLM(folder, device=target)
    path.write_text(text)
    plan = path.with_suffix(".plan")
    plan.write_bytes(plan.read_bytes()[:-100])
    with pytest.raises(ProviderError, match="is missing, cut short or changed"):
        LLM(folder, device=target)


def test_recurring_shapes_are_repeated_as_cuda_graphs(target: str, on_gpu: Bundles):
    folder = on_gpu("embed", target, "fp32")
    llm = LLM(folder, device=target)
    backend = llm.engine.session.backend
    assert isinstance(backend, TensorRtBackend)
    batches = [["one text"], ["a longer text than the first one"] * 3, ["two", "three"]]
    first = [vectors(llm, batch) for batch in batches]
    for _ in range(5):  # captured on the third, repeated from the fourth on, one between the others
        for batch, wanted in zip(batches, first, strict=True):
            np.testing.assert_allclose(vectors(llm, batch), wanted, atol=1e-6)
    lane = backend._free.get()
    assert lane.captured >= len(batches)


def test_a_timing_cache_is_kept(on_gpu: Bundles, need: Device, tmp_path: Path):
    need("tensorrt")
    folder = Path(shutil.copytree(on_gpu("embed", "tensorrt", "fp32"), tmp_path / "bundle"))
    timings = tmp_path / "timings"
    options = EngineOptions(target="tensorrt", timing_cache=str(timings))
    manifest = open_bundle(folder).manifest
    first = build_engine(folder, manifest, "fp32", options, SilentReporter(), force=True)
    assert timings.stat().st_size > 0
    second = build_engine(folder, manifest, "fp32", options, SilentReporter(), force=True)
    assert second.record.seconds <= first.record.seconds + 1
    assert vectors(LLM(folder, device="tensorrt"), TEXTS).shape[0] == len(TEXTS)


def test_compiled_kernels_are_kept(on_gpu: Bundles, need: Device):
    need("tensorrt-rtx")
    folder = on_gpu("embed", "tensorrt-rtx", "fp16")
    first = vectors(LLM(folder, device="tensorrt-rtx", precision="fp16"), TEXTS)
    assert [path.stat().st_size > 0 for path in (cache_folder() / "kernels").glob("*.bin")]
    second = vectors(LLM(folder, device="tensorrt-rtx", precision="fp16"), TEXTS)
    np.testing.assert_allclose(first, second, atol=2e-3)
