from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pool_export.runtime.session as module
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.errors import BundleError, MissingExtraError, RuntimeFailure
from pool_export.runtime.session import Session
from pool_export.runtime.system import available_cpus

FEEDS = {
    "input_ids": np.array([[2, 7, 8, 3]]),
    "attention_mask": np.ones((1, 4), np.int64),
    "token_type_ids": np.zeros((1, 4), np.int64),
}


@pytest.fixture
def session(tiny_bundle: Callable[..., Path]) -> Callable[..., Session]:
    def open_one(family: str = "bert", **config: Any) -> Session:
        return Session(open_bundle(tiny_bundle(family)), RuntimeConfig(**{"device": "cpu", **config}))

    return open_one


def test_a_session_says_where_and_what_it_runs(session):
    opened = session()
    assert (opened.device, opened.precision) == ("cpu", "fp32")
    assert opened.input_names == ("input_ids", "attention_mask", "token_type_ids")
    assert opened.output_names == ("sentence_embedding", "last_hidden_state", "unnormalized_embedding")


def test_auto_takes_the_cpu_where_there_is_no_gpu(session):
    assert session(device="auto").device in ("cpu", "cuda")


def test_threads_are_the_ones_asked_for_or_those_of_the_container(session):
    assert session(threads=3).threads == 3
    assert session().threads == available_cpus()


def test_the_graph_carries_its_own_description(session):
    metadata = session().metadata()
    assert metadata["pool_export.format"] == "1"
    assert metadata["pool_export.convert"] == "embed"


def test_only_the_outputs_asked_for_come_back_as_float32(session):
    values = session().run(FEEDS, ["last_hidden_state", "sentence_embedding"])
    assert list(values) == ["last_hidden_state", "sentence_embedding"]
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}
    assert values["last_hidden_state"].shape == (1, 4, 32)
    assert values["sentence_embedding"].shape == (1, 32)


def test_only_declared_inputs_are_fed(session):
    opened = session("qwen3")
    assert "token_type_ids" not in opened.input_names
    assert opened.run(FEEDS, ["sentence_embedding"])["sentence_embedding"].shape == (1, 32)


def test_a_graph_that_fails_names_the_shape_of_the_batch_and_prints_nothing(session, capfd):
    beyond = {**FEEDS, "input_ids": np.full((1, 4), 10**6)}
    with pytest.raises(RuntimeFailure, match=r"the graph failed on a batch of shape \(1, 4\): .*") as caught:
        session().run(beyond, ["sentence_embedding"])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_with_inputs_this_version_does_not_feed_is_refused(bert_copy: Path, edit_json, monkeypatch):
    monkeypatch.setattr(module, "INPUT_NAMES", frozenset({"input_ids", "attention_mask"}))
    with pytest.raises(BundleError, match=r"model\.onnx has inputs this version does not feed: token_type_ids"):
        Session(open_bundle(bert_copy), RuntimeConfig(device="cpu"))


def test_without_onnxruntime_the_extra_is_named(tiny_bundle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pool-export\[cpu\]'"):
        Session(open_bundle(tiny_bundle("bert")), RuntimeConfig(device="cpu"))


@pytest.mark.parametrize(
    ("threads", "streams", "expected", "tokens"), [(1, 0, 1, 512), (3, 0, 3, 512), (9, 0, 4, 1536), (4, 1, 1, 2048)]
)
def test_streams_share_the_threads(session, threads: int, streams: int, expected: int, tokens: int):
    opened = session(threads=threads, streams=streams)
    assert (opened.streams, opened.batch_tokens) == (expected, tokens)
    # Every stream is a thread of its caller's; the pool has the others, and onnxruntime counts one caller with it.
    assert opened.backend._session.get_session_options().intra_op_num_threads == threads - expected + 1


def test_a_batch_that_is_alone_has_every_thread(session, monkeypatch: pytest.MonkeyPatch):
    opened = session(threads=2)
    wide, narrow = opened.backend._wide, opened.backend._session
    assert (wide.get_session_options().intra_op_num_threads, narrow.get_session_options().intra_op_num_threads) == (
        2,
        1,
    )
    want = opened.run(FEEDS, ["sentence_embedding"])["sentence_embedding"]
    monkeypatch.setattr(opened.backend, "_session", None)
    found = opened.run(FEEDS, ["sentence_embedding"], alone=True)["sentence_embedding"]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_while_another_has_every_thread_it_runs_as_a_stream(session, monkeypatch: pytest.MonkeyPatch):
    opened = session(threads=2)

    class Taken:
        def run(self, *arguments: Any) -> None:
            pytest.fail("it is taken")

    monkeypatch.setattr(opened.backend, "_wide", Taken())
    with opened.backend._wide_is_free:
        values = opened.run(FEEDS, ["sentence_embedding"], alone=True)
    assert values["sentence_embedding"].shape == (1, 32)


@pytest.mark.parametrize(
    ("threads", "streams", "limit", "room", "expected"),
    [
        (2, 0, 2**28, None, True),
        (4, 0, 2**28, None, True),
        (8, 0, 2**28, None, False),  # its streams share a pool of five
        (2, 1, 2**28, None, False),
        (2, 0, 1000, None, False),
        (2, 0, 2**28, 2**30, True),
        (2, 0, 2**28, 8000, False),
    ],
)
def test_weights_are_kept_twice_only_where_they_are_small_and_it_helps(
    tiny_bundle, monkeypatch, threads: int, streams: int, limit: int, room: int | None, expected: bool
):
    monkeypatch.setattr(module, "_COPIED", limit)
    config = RuntimeConfig(device="cpu", threads=threads, streams=streams)
    opened = Session(open_bundle(tiny_bundle("bert")), config, room=room)
    assert (opened.backend._wide is not None) is expected
