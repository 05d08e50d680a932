from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.engine import Engine
from pool_export.runtime.errors import InputError, RuntimeFailure
from pool_export.runtime.tokens import Encoded

LENGTHS = (2, 9, 1, 5, 9, 3, 10, 1)


@pytest.fixture
def engine(fake_llm: Callable[..., Any]) -> Callable[..., Engine]:
    return lambda *args, **options: fake_llm(*args, **options).engine


def inputs_of(lengths: tuple[int, ...]) -> list[Encoded]:
    """Texts of these lengths whose first token is their place in the list."""
    return [Encoded([5 + index, *[6] * (length - 1)], [0] * length) for index, length in enumerate(lengths)]


def test_answers_come_back_in_the_order_of_the_texts(engine, states):
    inputs = inputs_of(LENGTHS)
    rows = engine(options={"max_batch_size": 3}).run(inputs, ["last_hidden_state", "unnormalized_embedding"])
    for item, row in zip(inputs, rows, strict=True):
        np.testing.assert_allclose(row["last_hidden_state"], states(item.ids), rtol=1e-6)
        np.testing.assert_allclose(row["unnormalized_embedding"], states(item.ids).mean(axis=0), rtol=1e-5)


def test_token_level_outputs_are_cut_to_the_texts_own_tokens(engine):
    rows = engine("reward").run(inputs_of(LENGTHS), ["rewards"])
    assert [row["rewards"].shape for row in rows] == [(length, 2) for length in LENGTHS]


def test_an_answer_does_not_keep_the_batch_alive(engine):
    for row in engine().run(inputs_of(LENGTHS), ["sentence_embedding", "last_hidden_state"]):
        assert all(value.base is None and value.dtype == np.float32 for value in row.values())


def test_batches_keep_the_configured_limits(engine):
    small = engine(options={"max_batch_size": 2, "max_batch_tokens": 12})
    small.run(inputs_of(LENGTHS), ["sentence_embedding"])
    shapes = [shape for shape, _ in small.session.calls]
    assert shapes == [(1, 10), (1, 9), (1, 9), (2, 5), (2, 2), (1, 1)]


def test_padding_is_the_policys_token_and_masked(engine, monkeypatch):
    padded = engine(policy={"pad_token_id": 4})
    seen = {}
    original = padded.session.run
    monkeypatch.setattr(
        padded.session, "run", lambda feeds, outputs, **how: seen.update(feeds) or original(feeds, outputs)
    )
    padded.run([Encoded([5, 6], [0, 1]), Encoded([7, 8, 9], [0, 0, 1])], ["sentence_embedding"])
    assert seen["input_ids"].tolist() == [[7, 8, 9], [5, 6, 4]]
    assert seen["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert seen["token_type_ids"].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert {value.dtype for value in seen.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize(("length", "padded"), [(3, 4), (4, 4), (5, 8), (10, 10)])
def test_a_lone_text_is_padded_to_a_length_that_comes_again(engine, states, length: int, padded: int):
    """As far as the model takes it: ten tokens."""
    stepping = engine(policy={"max_length": 10})
    stepping.session.length_step = 4
    (item,) = inputs_of((length,))
    outputs = ["unnormalized_embedding", "last_hidden_state"]
    (row,) = stepping.run([item], outputs)
    assert stepping.session.calls == [((1, padded), tuple(outputs))]
    np.testing.assert_allclose(row["last_hidden_state"], states(item.ids), rtol=1e-6)
    np.testing.assert_allclose(row["unnormalized_embedding"], states(item.ids).mean(axis=0), rtol=1e-5)


def test_texts_in_company_are_not_padded_to_a_step(engine):
    stepping = engine()
    stepping.session.length_step = 4
    stepping.run(inputs_of((3, 3)), ["sentence_embedding"])
    small = engine(options={"max_batch_size": 1})
    small.session.length_step = 4
    small.run(inputs_of((3, 2)), ["sentence_embedding"])
    shapes = [shape for shape, _ in [*stepping.session.calls, *small.session.calls]]
    assert shapes == [(2, 3), (1, 3), (1, 2)]


def test_only_the_outputs_asked_for_are_computed(engine):
    asked = engine()
    asked.run(inputs_of((3,)), ["sentence_embedding"])
    assert asked.session.calls == [((1, 3), ("sentence_embedding",))]


def test_progress_counts_every_text_once(engine):
    steps: list[int] = []
    engine(options={"max_batch_size": 3}).run(inputs_of(LENGTHS), ["sentence_embedding"], steps.append)
    assert steps == [3, 3, 2]


def test_no_texts_run_nothing(engine):
    idle = engine()
    assert idle.run([], ["sentence_embedding"]) == []
    assert idle.session.calls == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_names_the_output(engine, monkeypatch, bad: float):
    broken = engine("classify")
    answers = {"probs": np.array([[0.5, 0.5], [bad, 0.5]], np.float32)}
    monkeypatch.setattr(broken.session, "run", lambda feeds, outputs, **how: answers)
    with pytest.raises(RuntimeFailure, match="probs is not finite"):
        broken.run(inputs_of((2, 2)), ["probs"])


def test_a_bad_number_in_the_padding_is_nobodys(engine, monkeypatch):
    padded = engine("reward")
    rewards = np.zeros((2, 3, 2), np.float32)
    rewards[1, 2] = np.nan
    monkeypatch.setattr(padded.session, "run", lambda feeds, outputs, **how: {"rewards": rewards})
    assert [row["rewards"].shape for row in padded.run(inputs_of((3, 2)), ["rewards"])] == [(3, 2), (2, 2)]


def test_half_precision_answers_become_float32(engine, monkeypatch):
    half = engine()
    monkeypatch.setattr(
        half.session, "run", lambda feeds, outputs, **how: {"sentence_embedding": np.ones((1, 6), np.float16)}
    )
    assert half.run(inputs_of((2,)), ["sentence_embedding"])[0]["sentence_embedding"].dtype == np.float32


def test_a_longer_limit_than_the_bundles_is_refused(fake_llm):
    with pytest.raises(InputError, match=r"max_model_len must be in \[1, 10\]"):
        fake_llm(options={"max_model_len": 11})
    assert fake_llm(options={"max_model_len": 3}).engine.tokenizer.max_length == 3


def test_batches_run_in_several_streams_and_come_back_in_order(engine, states):
    inputs, steps = inputs_of(LENGTHS), []
    parallel = engine(options={"max_batch_size": 1})
    parallel.session.streams = 3
    rows = parallel.run(inputs, ["unnormalized_embedding"], steps.append)
    for item, row in zip(inputs, rows, strict=True):
        np.testing.assert_allclose(row["unnormalized_embedding"], states(item.ids).mean(axis=0), rtol=1e-5)
    assert steps == [1] * len(LENGTHS)


def test_a_failing_batch_stops_the_others(engine, monkeypatch):
    parallel = engine(options={"max_batch_size": 1})
    parallel.session.streams = 2
    calls = []

    def fail(feeds: Any, outputs: Any, **how: bool) -> Any:
        calls.append(feeds)
        raise RuntimeFailure("the graph failed")

    monkeypatch.setattr(parallel.session, "run", fail)
    with pytest.raises(RuntimeFailure, match="the graph failed"):
        parallel.run(inputs_of((3,) * 50), ["sentence_embedding"])
    assert len(calls) < 50


def noted(engine: Engine, option: str) -> list[tuple[int, bool]]:
    """Return a list that gets the length of every batch from now on, and an option of its run."""
    asked: list[tuple[int, bool]] = []
    run = engine.session.run

    def note(feeds: Any, outputs: Any, **how: bool) -> Any:
        asked.append((feeds["input_ids"].shape[1], how.get(option, option == "gives_back")))
        return run(feeds, outputs)

    engine.session.run = note  # type: ignore[method-assign]
    return asked


def test_a_batch_that_is_alone_is_said_to_be(engine):
    """It may have the threads of every stream, except where it gives back what those hold."""
    small = engine(options={"max_batch_tokens": 5})
    asked = noted(small, "alone")
    for lengths in ((3,), (3, 2), (9,)):
        small.run(inputs_of(lengths), ["sentence_embedding"])
    assert asked == [(3, True), (3, False), (2, False), (9, True), (1, False)]


def test_the_memory_of_a_long_text_is_given_back_once_afterwards(engine):
    """Long is longer than a batch: returning that much after each of many would cost a sixth of the time."""
    small = engine(options={"max_batch_tokens": 5})
    asked = noted(small, "gives_back")
    small.run(inputs_of((9, 8)), ["sentence_embedding"])
    assert asked == [(9, False), (8, False), (1, True)]
    asked.clear()
    small.run(inputs_of((9, 3)), ["sentence_embedding"])
    assert asked == [(9, False), (3, True)]
