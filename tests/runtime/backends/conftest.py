"""A pretended onnxruntime, for what no test machine has: GPUs, and providers that fail; two texts, and who has bf16."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

CPU = "CPUExecutionProvider"
FEEDS = {
    "input_ids": np.array([[2, 7, 8, 3], [2, 9, 3, 0]]),
    "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]]),
    "token_type_ids": np.zeros((2, 4), np.int64),
}


def _has_bf16() -> bool:
    try:
        import openvino
    except ImportError:
        return False
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


HAS_BF16 = _has_bf16()
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this CPU has neither avx512_bf16 nor amx_bf16")


@pytest.fixture
def onnxruntime(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Return `onnxruntime(available, active={...}, fails={...})`: a pretended module; the sessions opened on it.

    `active` says what a session asked for a provider really runs on, `fails` what it raises.
    """

    def install(available: list[str], active: dict[str, str] | None = None, fails: dict[str, Exception] | None = None):
        opened: list[dict[str, Any]] = []

        class InferenceSession:
            def __init__(self, path: str, options: object, **arguments: Any) -> None:
                opened.append({"path": path, "options": options, **arguments})
                self.asked = arguments["providers"][0][0]
                if self.asked in (fails or {}):
                    raise (fails or {})[self.asked]

            def get_providers(self) -> list[str]:
                return [(active or {}).get(self.asked, self.asked), CPU]

            def get_inputs(self) -> list[Any]:
                return []

            get_outputs = get_inputs

        def preload_dlls() -> None:
            print("Failed to load libcublasLt.so.13")  # onnxruntime does print this to stdout

        module = SimpleNamespace(
            __version__="0.0",
            get_available_providers=lambda: available,
            InferenceSession=InferenceSession,
            preload_dlls=preload_dlls,
            SessionOptions=SimpleNamespace,
            RunOptions=lambda: SimpleNamespace(add_run_config_entry=lambda key, value: None),
        )
        monkeypatch.setitem(sys.modules, "onnxruntime", module)
        return opened

    return install
