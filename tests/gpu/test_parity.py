"""Every device and precision against float32 on the CPU, which the export compared with the original model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pool_export import LLM
from pool_export.runtime.backends.onnx_runtime import OnnxRuntimeBackend
from pool_export.runtime.bars import BARS

from .conftest import DEVICES, KINDS, REHEARSED, Bundles, device_name

pytestmark = [pytest.mark.gpu, pytest.mark.torch]

PRECISIONS = ("fp32", "fp16", "bf16")
TEXTS = ["one text", "a longer text than the first one", "two", "Ein Satz über Äpfel.", "and so on " * 12]
# Rows alone and among others differ by the order of sums alone, in the type of the products.
LONE = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 2e-2}


def opened(folder: Path, device: str, precision: str) -> LLM:
    """Open a bundle as users do: its golden vectors are replayed on the device first."""
    if REHEARSED and precision == "bf16":
        pytest.skip("onnxruntime has no bf16 on a CPU")
    return LLM(folder, device=device_name(device), precision=precision)


def answers(llm: LLM, kind: str, texts: list[str]) -> np.ndarray:
    """One row a text; of a reward one row a token."""
    if kind.startswith("embed"):
        return np.array([row.outputs.embedding for row in llm.embed(texts)])
    if kind == "classify":
        return np.array([row.outputs.probs for row in llm.classify(texts)])
    if kind == "score":
        return np.array([[row.outputs.score] for row in llm.score("one question", texts)])
    return np.concatenate([np.asarray(row.outputs.data).reshape(-1, 1) for row in llm.reward(texts)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", DEVICES)
def test_answers_are_those_of_float32_on_the_cpu(device: str, precision: str, kind: str, on_gpu: Bundles):
    folder = on_gpu(kind, device, precision)
    found = answers(opened(folder, device, precision), kind, TEXTS)
    wanted = answers(LLM(folder, device="cpu", precision="fp32"), kind, TEXTS)
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    if precision == "fp32":
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)
    one, other = (rows.reshape(-1) if rows.shape[1] == 1 else rows for rows in (found, wanted))
    cosines = (one * other).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))
    assert np.min(cosines) >= BARS[precision].min_cosine  # type: ignore[index]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_text_does_not_depend_on_its_neighbours(device: str, precision: str, on_gpu: Bundles):
    llm = opened(on_gpu("embed", device, precision), device, precision)
    alone = np.concatenate([answers(llm, "embed", [text]) for text in TEXTS])
    many = [f"{text} {number}" for number in range(12) for text in TEXTS]
    among = answers(llm, "embed", [*TEXTS, *many])[: len(TEXTS)]
    np.testing.assert_allclose(among, alone, atol=LONE[precision])
    np.testing.assert_array_equal(answers(llm, "embed", TEXTS), answers(llm, "embed", TEXTS))


def test_cuda_computes_float32_as_float32(on_gpu: Bundles):
    """TF32 keeps ten bits of a factor: its answers are off by 1e-3, these by 1e-6."""
    folder = on_gpu("embed", "cuda", "fp32")
    llm = opened(folder, "cuda", "fp32")
    backend = llm.engine.session.backend
    assert isinstance(backend, OnnxRuntimeBackend)
    options = backend._session.get_provider_options().get("CUDAExecutionProvider", {"use_tf32": "0"})
    assert options["use_tf32"] == "0"
    wanted = answers(LLM(folder, device="cpu", precision="fp32"), "embed", TEXTS)
    np.testing.assert_allclose(answers(llm, "embed", TEXTS), wanted, atol=1e-5)
