from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "numpy", "tokenizers", "safetensors", "onnxruntime"}


@pytest.mark.parametrize("module", ["", ".catalog", ".texts", ".tiny_families"])
def test_imports_nothing_heavy(module: str):
    code = f"import sys, pool_export.models_zoo{module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert f"pool_export.models_zoo{module}" in loaded
    assert not loaded & HEAVY
