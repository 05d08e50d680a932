from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.streaming import in_windows


def test_results_come_in_order_window_by_window():
    windows: list[list[int]] = []
    found = in_windows(iter(range(7)), lambda items: items, lambda items: windows.append(items) or items, window=3)
    assert list(found) == list(range(7))
    assert windows == [[0, 1, 2], [3, 4, 5], [6]]


def test_nothing_in_nothing_out():
    assert list(in_windows([], lambda items: items, lambda items: items)) == []


def test_at_most_two_windows_are_read_ahead():
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    found = in_windows(source(), lambda items: items, lambda items: items, window=4)
    assert read == []
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    found.close()
    assert len(read) <= 8


def test_the_next_window_is_prepared_while_one_runs():
    second = threading.Event()

    def prepare(items: list[int]) -> list[int]:
        if items[0] == 2:
            second.set()
        return items

    def run(items: list[int]) -> list[int]:
        assert second.wait(10)  # comes while the first window runs, or never
        return items

    assert list(in_windows(range(4), prepare, run, window=2)) == [0, 1, 2, 3]


def test_an_error_comes_after_what_was_before_it():
    def prepare(items: list[int]) -> list[int]:
        if 3 in items:
            raise InputError("three")
        return items

    found = in_windows(range(9), prepare, lambda items: items, window=2)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(InputError, match="three"):
        list(found)


def test_a_window_has_room():
    with pytest.raises(InputError, match="window must be at least 1, got 0"):
        in_windows([1], lambda items: items, lambda items: items, window=0)


def test_a_stream_of_texts_is_embedded_as_a_list_is(fake_llm: Callable[..., object]):
    llm = fake_llm()
    texts = [" ".join(["one", "two", "three", "four"][: 1 + index % 4]) for index in range(11)]
    want = llm.embed(texts, use_tqdm=False)
    found = list(llm.embed_iter(iter(texts), window=4))
    assert [item.request_id for item in found] == [str(index) for index in range(11)]
    for got, expected in zip(found, want, strict=True):
        assert got.prompt_token_ids == expected.prompt_token_ids
        np.testing.assert_allclose(got.outputs.data, expected.outputs.data, atol=1e-6)


def test_a_stream_takes_the_options_of_embed(fake_llm: Callable[..., object], tmp_path: Path):
    llm = fake_llm(policy={"prompts": {"query": "one "}})
    (found,) = llm.embed_iter(["two"], prompt_name="query")
    (want,) = llm.embed("one two")
    assert found.prompt_token_ids == want.prompt_token_ids
    with pytest.raises(InputError, match="for a single one use embed"):
        llm.embed_iter("two")
