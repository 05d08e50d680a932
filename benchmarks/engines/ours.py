"""pool_export: the public API, nothing tuned by hand."""

from __future__ import annotations

from . import Opened
from .vllm_api import VllmApi


class PoolExport(VllmApi):
    """`LLM(bundle).embed(texts)`; batches are the engine's own business."""

    PACKAGES = ("pool-export", "onnxruntime", "openvino")

    def __init__(self, opened: Opened) -> None:
        from pool_export import LLM

        self._llm = LLM(opened.bundle, threads=opened.threads, precision=opened.precision, **opened.options)
