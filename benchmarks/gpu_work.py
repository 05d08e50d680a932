"""The contenders of gpu.py, and what a forward pass costs: opened in the process that measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pool_export.runtime.engines.library import LIBRARIES

from . import models

# Of one product, large enough for a GPU's peak and small enough for any GPU's memory.
GEMM_SIDE = 8192
_SIDE_OF_A_REHEARSAL = 1024

Embed = Callable[[list[str]], np.ndarray]


def ours(folder: Path, device: str, precision: str) -> Embed:
    """`LLM(bundle, device=...).embed`; the engine is built first where the device takes one."""
    from pool_export import LLM

    if device in LIBRARIES:
        from pool_export.export.engines.build import build_engine
        from pool_export.export.engines.options import EngineOptions
        from pool_export.export.reporting import SilentReporter
        from pool_export.runtime.bundle import open_bundle

        build_engine(folder, open_bundle(folder).manifest, precision, EngineOptions(target=device), SilentReporter())  # type: ignore[arg-type]
    llm = LLM(folder, device=device, precision=precision)
    return lambda texts: np.array([row.outputs.embedding for row in llm.embed(texts, use_tqdm=False)], np.float32)


def theirs(checkpoint: Path, name: str, device: str, precision: str, batch_size: int) -> Embed:
    """`SentenceTransformer.encode` with torch's fused attention (SDPA)."""
    import torch
    from sentence_transformers import SentenceTransformer

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    how: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    model = SentenceTransformer(str(checkpoint), device=device, model_kwargs=how)
    model.max_seq_length = models.MODELS[name].max_length

    def embed(texts: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(model.encode(texts, batch_size=batch_size, show_progress_bar=False), np.float32)

    return embed


def flops_of(multiply_adds: int, attention: int, lengths: Sequence[int]) -> float:
    """Floating-point operations that the texts need, unpadded: linear layers, and attention's two products.

    Args:
        multiply_adds: of the linear layers, a token.
        attention: layers times the width of all heads.
        lengths: of the texts in tokens.
    """
    return float(sum(2 * multiply_adds * length + 4 * attention * length * length for length in lengths))


def gemm_peak(device: str, precision: str, seconds: float = 2.0) -> float:
    """FLOP/s of one large product of torch's, the best of many: what the GPU can really do."""
    import torch

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    side = GEMM_SIDE if device == "cuda" else _SIDE_OF_A_REHEARSAL
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        wait()
        began = time.perf_counter()
        for _ in range(10):
            left @ right
        wait()
        best = max(best, 10 * 2 * side**3 / (time.perf_counter() - began))
    return best
