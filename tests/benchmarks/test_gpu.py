"""The arithmetic and the page of the GPU benchmark, on made-up figures; and that it says why it measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from pool_export.benchmarks import gpu, gpu_report
from pool_export.benchmarks.gpu_work import flops_of

RUN: dict[str, Any] = {
    "texts": 4,
    "tokens": {"mean": 250.0, "max": 400.0, "sum": 1000.0},
    "flops": 2e12,
    "contenders": {
        "pool-export cuda fp16": {
            "seconds": [0.01, 0.02, 0.03],
            "single_ms": [1, 2, 9],
            "fidelity": {"min_cosine": 0.9995},
        },
        "sentence-transformers fp16, batch 32": {
            "seconds": [0.04],
            "single_ms": [5.0],
            "fidelity": {"min_cosine": 0.999},
        },
        "pool-export tensorrt bf16": {"unavailable": "ProviderError: no | engine"},
    },
}
RESULT: dict[str, Any] = {
    "gpu": "NVIDIA H100 80GB HBM3, 580.1, 81559 MiB",
    "date": "2026-01-01",
    "versions": {"torch": "2.13"},
    "rehearsal": False,
    "missing": ["device tensorrt-rtx: no"],
    "gemm_flops": {"fp16": 500e12, "bf16": 500e12},
    "rounds": 3,
    "runs": {"bert-base long": RUN},
}


def test_operations_are_those_of_the_unpadded_texts():
    # One layer of one head of width 2: q, k, v and o are 4 products of 2 x 2, so 16 multiply-adds a token.
    assert flops_of(16, 2, [3]) == 2 * 16 * 3 + 2 * (2 * 3 * 3 * 2)
    assert flops_of(16, 2, [3, 5]) == flops_of(16, 2, [3]) + flops_of(16, 2, [5])


def test_a_row_is_speed_use_latency_and_fidelity():
    assert gpu_report.rows(RESULT, RUN) == [
        ("pool-export cuda fp16", "50,000", "20%", "10%", "2.00", "0.999500"),
        ("sentence-transformers fp16, batch 32", "25,000", "10%", "5%", "5.00", "0.999000"),
        ("pool-export tensorrt bf16", "ProviderError: no | engine", "", "", "", ""),
    ]
    assert gpu_report.sheet_peak("NVIDIA H100 PCIe") == 756e12
    assert gpu_report.sheet_peak("NVIDIA L40S") == 362e12
    assert gpu_report.sheet_peak("Another") is None


def test_the_page_and_the_plot_are_written_between_the_markers(tmp_path: Path, checkout: Path):
    measured, page = tmp_path / "results.json", tmp_path / "gpu.md"
    measured.write_bytes(orjson.dumps(RESULT))
    page.write_text((checkout / "docs/gpu.md").read_text("utf-8"), "utf-8")
    words = [
        str(measured),
        "--plot",
        str(tmp_path / "plot.png"),
        "--page",
        str(page),
        "--keep",
        str(tmp_path / "kept.json"),
    ]
    done = CliRunner().invoke(gpu_report.main, words)
    assert done.exit_code == 0, done.output
    text = page.read_text("utf-8")
    assert "| pool-export cuda fp16 | 50,000 | 20% | 10% | 2.00 | 0.999500 |" in text
    assert "| pool-export tensorrt bf16 | ProviderError: no \\| engine |" in text
    assert "- not measured: device tensorrt-rtx: no" in text
    assert text.startswith("# On an NVIDIA GPU")
    assert "No run on a GPU is stored yet." not in text
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "kept.json").read_bytes() == measured.read_bytes()


def test_where_nothing_was_measured_nothing_is_written(tmp_path: Path):
    done = CliRunner().invoke(gpu_report.main, [str(tmp_path / "none.json"), "--plot", str(tmp_path / "plot.png")])
    assert (done.exit_code, list(tmp_path.iterdir())) == (0, [])
    assert "nothing was measured" in done.output


def test_without_a_gpu_it_says_why_and_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "usable", lambda: ((), ["device cuda: no provider"]))
    monkeypatch.setattr(gpu, "_torch_problem", lambda: "torch sees no CUDA device")
    done = CliRunner().invoke(gpu.main, ["--json", str(tmp_path / "r.json")])
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "skipped: torch sees no CUDA device",
        "skipped: device cuda: no provider",
        "benchmarks/gpu.py: nothing was measured",
    ]
    assert list(tmp_path.iterdir()) == []
