from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pool_export.runtime import tuning
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.cache import read_record, write_record
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.engine import Engine
from pool_export.runtime.errors import InputError
from pool_export.runtime.llm import LLM
from pool_export.runtime.tokens import Encoded
from pool_export.runtime.tuned import Tuned, stored_choice, tuned_path
from pool_export.runtime.tuning import BUDGETS, combinations, some, tune, variants

TEXTS = ("one two three", "four five six seven eight nine ten", "eleven")
CHOICE = Tuned(
    device="cpu", precision="fp32", streams=1, max_batch_tokens=256, threads=2, backend="onnxruntime 0",
    tokens_per_second=1.0, min_cosine=1.0, date="2026-01-01",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str, int, int], float]:
    """Return a table of pretended speeds, by device, precision, streams and tokens a batch; else 1."""
    table: dict[tuple[str, str, int, int], float] = {}

    def rate(engine: Engine, inputs: Sequence[Encoded]) -> float:
        given = engine.config
        return table.get((given.device, given.precision, given.streams, given.max_batch_tokens), 1.0)

    monkeypatch.setattr(tuning, "_rate", rate)
    return table


def test_the_fastest_is_stored_and_used_where_everything_is_open(tiny_bundle: Callable[..., Path], rates):
    folder = tiny_bundle("bert")
    rates["cpu", "fp32", 0, 0], rates["cpu", "fp32", 1, 512] = 5.0, 9.0
    tuned, ranked = tune(open_bundle(folder), TEXTS, threads=1)
    assert (tuned.device, tuned.precision, tuned.streams, tuned.max_batch_tokens) == ("cpu", "fp32", 1, 512)
    assert (tuned.tokens_per_second, tuned.threads) == (9.0, 1)
    assert tuned.backend.startswith("onnxruntime ")
    assert [candidate.rate for candidate in ranked[:2]] == [9.0, 5.0]
    assert read_record(tuned_path(open_bundle(folder)), Tuned) == tuned
    opened = LLM(folder, threads=1).engine
    assert (opened.config.streams, opened.max_tokens) == (1, 512)


def test_slow_combinations_are_not_tried_with_other_batches(tiny_bundle: Callable[..., Path], rates):
    pytest.importorskip("openvino")
    rates["cpu", "fp32", 0, 0], rates["openvino", "fp32", 0, 0] = 10.0, 7.0
    _, ranked = tune(open_bundle(tiny_bundle("bert")), TEXTS, threads=1)
    assert {candidate.config.device for candidate in ranked if candidate.config.max_batch_tokens} == {"cpu"}


def test_what_is_too_far_from_the_reference_is_out_however_fast(tiny_bundle: Callable[..., Path], rates):
    with pytest.raises(InputError, match=r"no combination reaches a cosine of 1\.1 .*cpu fp32: min cosine 1\.0"):
        tune(open_bundle(tiny_bundle("bert")), TEXTS, threads=1, min_cosine=1.1)


def test_it_really_measures(tiny_bundle: Callable[..., Path]):
    seen: list[str] = []
    tuned, ranked = tune(open_bundle(tiny_bundle("bert")), TEXTS, seconds=1.0, threads=1, show=seen.append)
    assert all(candidate.rate > 0 for candidate in ranked if not candidate.problem)
    assert tuned.tokens_per_second == pytest.approx(max(c.rate for c in ranked if c.config.max_batch_tokens), abs=0.1)
    assert "turn 3 of 3: cpu fp32" in seen


def test_without_texts_there_is_nothing_to_measure(tiny_bundle: Callable[..., Path]):
    with pytest.raises(InputError, match="needs texts"):
        tune(open_bundle(tiny_bundle("bert")), [])


@pytest.mark.parametrize(
    "given", [{"device": "cpu"}, {"precision": "fp32"}, {"streams": 2}, {"max_batch_tokens": 7}], ids=str
)
def test_an_option_that_is_given_wins(fake_bundle: Callable[..., Path], given: dict):
    bundle = open_bundle(fake_bundle())
    write_record(tuned_path(bundle), CHOICE)
    config = RuntimeConfig(**given)
    assert stored_choice(config, bundle, 2) is None
    assert stored_choice(RuntimeConfig(), bundle, 2) == CHOICE
    assert CHOICE.applied(RuntimeConfig(threads=2)) == RuntimeConfig(
        device="cpu", precision="fp32", streams=1, max_batch_tokens=256, threads=2
    )


def test_a_choice_for_other_threads_or_another_bundle_is_not_used(fake_bundle: Callable[..., Path]):
    bundle = open_bundle(fake_bundle())
    assert stored_choice(RuntimeConfig(), bundle, 2) is None
    write_record(tuned_path(bundle), CHOICE)
    assert stored_choice(RuntimeConfig(), bundle, 3) is None


def test_every_way_to_run_the_bundle_is_a_candidate(tiny_bundle: Callable[..., Path], monkeypatch):
    bundle = open_bundle(tiny_bundle("bert"))
    monkeypatch.setattr(tuning, "available", lambda device, required: False)
    on_cpu = [("cpu", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
    assert [(item.device, item.precision) for item in combinations(bundle)] == on_cpu
    monkeypatch.setattr(tuning, "available", lambda device, required: True)
    assert [(item.device, item.precision) for item in combinations(bundle)] == [*on_cpu, ("cuda", "fp32")]


def test_int8_is_tuned_where_a_text_does_not_depend_on_its_batch(tiny_bundle: Callable[..., Path], monkeypatch):
    bundle = open_bundle(tiny_bundle("bert"))
    monkeypatch.setattr(tuning, "available", lambda device, required: False)
    monkeypatch.setitem(bundle.manifest.graphs, "int8", bundle.manifest.graphs["fp32"])
    in_int8 = [item.device for item in combinations(bundle) if item.precision == "int8"]
    assert in_int8 == ["cpu"]


def test_batches_are_as_large_for_each_thread(monkeypatch: pytest.MonkeyPatch):
    found = [(item.streams, item.max_batch_tokens) for item in variants(RuntimeConfig(device="cpu", threads=2))]
    assert found == [(1, 2 * budget) for budget in BUDGETS] + [(2, budget) for budget in BUDGETS]
    assert {item.streams for item in variants(RuntimeConfig(device="cuda", threads=2))} == {1}


def test_a_sample_is_spread_over_all_texts():
    inputs = [Encoded([0] * length, [0] * length) for length in (1, 2, 3, 4)]
    assert [len(item) for item in some(inputs, 5)] == [1, 3]
    assert [len(item) for item in some(inputs, 20)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(some(inputs, 0)) == 1
