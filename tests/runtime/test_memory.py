from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from pool_export.runtime import memory
from pool_export.runtime.errors import InputError
from pool_export.runtime.llm import LLM
from pool_export.runtime.memory import BatchCost, MemoryBudget, measure_cost, resident

MIB = 2**20


def test_resident_is_what_the_kernel_says():
    """In a process of its own: in this one other tests' memory may go back meanwhile."""
    script = """
import numpy as np
from pool_export.runtime.memory import resident

before = resident()
block = np.ones(8 << 20)  # 64 MiB
print(resident() - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert 60 * MIB < grown < 80 * MIB


def test_the_cost_is_found_from_two_batches():
    seen = []

    def grow(rows: int, length: int) -> int:
        seen.append((rows, length))
        return rows * length * (20_000 + 100 * length)

    cost = measure_cost(grow, tokens=512, longest=4096)
    assert (cost.per_token, cost.per_square) == (pytest.approx(20_000), pytest.approx(100))
    assert seen == [(1, 64), (8, 64), (1, 512)]
    assert cost(2, 1000) == pytest.approx(1.5 * 2 * 1000 * 120_000)


@pytest.mark.parametrize("longest", [1, 10, 64, 65])
def test_a_model_of_short_texts_is_measured_too(longest: int):
    cost = measure_cost(lambda rows, length: rows * length * 1000, tokens=512, longest=longest)
    assert (cost.per_token, cost.per_square) == (pytest.approx(1000), 0)


def test_noise_makes_no_factor_negative():
    cost = measure_cost(lambda rows, length: MIB if length == 64 else 1000, tokens=512, longest=512)
    assert cost.per_square == 0
    assert cost.per_token == MIB / 512


def test_a_limit_below_what_is_loaded_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"the process takes \d+ MiB before the first text .* the limit is 1 MiB"):
        MemoryBudget(MIB).settle()


def test_without_a_limit_everything_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "memory_limit", lambda: None)
    budget = MemoryBudget.of(0)
    budget.settle()
    budget.check(10**15, 9)
    with budget.reserve(10**15), budget.reserve(10**15):
        assert budget.limit is None


def test_the_containers_limit_holds_unless_one_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "memory_limit", lambda: 7)
    assert (MemoryBudget.of(0).limit, MemoryBudget.of(9).limit) == (7, 9)


def test_a_text_that_cannot_fit_names_its_need_and_the_limit():
    budget = MemoryBudget(100 * MIB)
    with pytest.raises(InputError, match=r"a text of 99 tokens needs about 101 MiB .* limit of 100 MiB .memory_limit"):
        budget.check(100 * MIB + 1, 99)
    budget.check(100 * MIB, 99)


def test_batches_wait_for_room_and_nobody_overtakes():
    budget, order = MemoryBudget(100), []
    waits = threading.Event()

    def hold(name: str, cost: int) -> None:
        waits.set()
        with budget.reserve(cost):
            order.append(name)

    with budget.reserve(60):
        large = threading.Thread(target=hold, args=("large", 80))
        large.start()
        waits.wait()
        while not budget._turn.locked():
            pass
        small = threading.Thread(target=hold, args=("small", 10))
        small.start()
        assert order == []
    large.join()
    small.join()
    assert order == ["large", "small"]


def test_a_batch_above_the_room_runs_alone():
    budget = MemoryBudget(100)
    with budget.reserve(1000):
        pass
    with budget.reserve(100):
        pass


def test_under_a_limit_batches_are_smaller_and_answers_the_same(fake_llm, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pool_export.runtime.engine.measure_cost", lambda *args: BatchCost(100.0, 10.0))
    monkeypatch.setattr(MemoryBudget, "settle", lambda budget: None)
    texts = [[5, 6, 7, 8]] * 6 + [[5] * 8]
    free, tight = fake_llm(), fake_llm(options={"memory_limit": 2200})  # 1.5 * 10 * (100 + 10 * 10) for ten tokens

    def vectors(llm: LLM) -> np.ndarray:
        return np.array([item.outputs.embedding for item in llm.embed(texts, use_tqdm=False)])

    np.testing.assert_allclose(vectors(tight), vectors(free), rtol=1e-6)
    assert [shape for shape, _ in free.engine.session.calls] == [(7, 8)]
    assert [shape for shape, _ in tight.engine.session.calls] == [(1, 8), (2, 4), (2, 4), (2, 4)]
    with pytest.raises(InputError, match="a text of 10 tokens needs about 1 MiB"):
        tight.embed([[5] * 10], use_tqdm=False)


def test_a_limit_that_matters_on_a_real_model(minilm_bundle):
    free = LLM(minilm_bundle, device="cpu", max_model_len=256)
    limit = resident() + 230 * MIB
    tight = LLM(minilm_bundle, device="cpu", max_model_len=256, memory_limit=limit, max_batch_tokens=8192)
    texts = [[101] * 200] * 8
    assert not tight.engine.fits(8, 200)
    got = np.array([item.outputs.embedding for item in tight.embed(texts, use_tqdm=False)])
    np.testing.assert_allclose(got, [item.outputs.embedding for item in free.embed(texts, use_tqdm=False)], atol=1e-5)
    assert resident() < limit
