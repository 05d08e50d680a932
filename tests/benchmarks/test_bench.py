"""The benchmark itself, small: two contenders and the script written by hand, and one that cannot run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pool_export.benchmarks import bars, tables


@pytest.mark.slow
def test_a_quick_run_measures_who_is_there_and_says_who_is_not(
    minilm_bundle: Path, minilm_folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "models/minilm"
    model.mkdir(parents=True)
    (model / "bundle").symlink_to(minilm_bundle)
    (model / "checkpoint").symlink_to(minilm_folder)
    target = tmp_path / "run.json"
    names = ("pool-export fp32", "pool-export int8", "onnxruntime", "hand-tuned onnxruntime")
    chosen = [word for name in names for word in ("--contender", name)]
    command = [sys.executable, "-m", "pool_export.benchmarks.bench", "--quick", "--work", str(tmp_path), *chosen]
    done = subprocess.run([*command, "--json", str(target)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(target.read_text())
    figures = result["workloads"]["natural"]
    assert set(figures["contenders"]) == set(names)
    ran = bars.measured(figures)
    assert set(ran) >= {"pool-export fp32", "onnxruntime", "hand-tuned onnxruntime"}
    for one in ran.values():
        assert len(one["seconds"]) == 2
        assert one["peak_rss_mb"] > 50
        assert [len(times) for times in one["calls_ms"]["1"]] == [5, 5]
    assert ran["pool-export fp32"]["fidelity"]["min_cosine"] > 0.99999
    assert ran["pool-export fp32"]["batch_difference"] <= 1e-6
    assert all(peak > 1 for libraries in figures["peak_gflops"][0].values() for peak in libraries.values())
    assert "pool-export fp32" in tables.page(result)


def test_a_wrong_name_is_one_clear_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pool_export.benchmarks.bench", "--contender", "nobody", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no contender is called 'nobody'" in done.stderr
    assert "Traceback" not in done.stderr
