from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.backends import open_vino
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.errors import BundleError, ProviderError, RuntimeFailure
from pool_export.runtime.llm import LLM
from pool_export.runtime.session import Session

from .conftest import FEEDS, HAS_BF16, needs_bf16

openvino = pytest.importorskip("openvino", reason="the openvino extra is not installed")


@pytest.fixture
def session(tiny_bundle: Callable[..., Path]) -> Callable[..., Session]:
    def open_one(family: str = "bert", **config: Any) -> Session:
        return Session(open_bundle(tiny_bundle(family)), RuntimeConfig(**{"device": "openvino", **config}))

    return open_one


def test_it_says_where_and_what_it_runs(session):
    opened = session(threads=3)
    assert (opened.device, opened.precision, opened.streams, opened.on_cpu) == ("openvino", "fp32", 3, True)
    assert opened.input_names == ("input_ids", "attention_mask", "token_type_ids")
    assert opened.output_names == ("sentence_embedding", "last_hidden_state", "unnormalized_embedding")
    assert opened.backend.version == f"openvino {openvino.__version__}"


def test_the_graph_keeps_its_own_description(session):
    assert session().metadata()["pool_export.convert"] == "embed"


@pytest.mark.parametrize("family", ["bert", "qwen3"])
def test_it_answers_what_onnxruntime_answers(session, family: str):
    names = ["last_hidden_state", "sentence_embedding"]
    found, want = session(family).run(FEEDS, names), session(family, device="cpu").run(FEEDS, names)
    assert list(found) == names
    for name in names:
        assert found[name].dtype == np.float32
        real = FEEDS["attention_mask"] == 1 if name == "last_hidden_state" else slice(None)
        np.testing.assert_allclose(found[name][real], want[name][real], atol=2e-5)


@needs_bf16
def test_bf16_rounds_and_keeps_the_direction(session):
    rough = session(precision="bf16")
    assert (rough.precision, rough.place.graph) == ("bf16", "fp32")
    found, want = (item.run(FEEDS, ["sentence_embedding"])["sentence_embedding"] for item in (rough, session()))
    assert 0 < np.abs(found - want).max() < 0.02
    assert ((found * want).sum(axis=1) > 0.999).all()


@pytest.mark.skipif(HAS_BF16, reason="this CPU has bf16")
def test_bf16_on_a_cpu_without_it_is_refused(session):
    with pytest.raises(ProviderError, match="not in bf16"):
        session(precision="bf16")


def test_a_precision_it_has_not_is_refused(session):
    with pytest.raises(ProviderError, match=r"computes in fp32, bf16, int8, got precision 'fp16'"):
        session(precision="fp16")


def test_int8_needs_the_int8_graph(session):
    with pytest.raises(BundleError, match="has no int8 graph; available: fp32"):
        session(precision="int8")


def test_answers_are_kept_when_the_next_batch_runs(session):
    opened = session(threads=1)
    first = opened.run(FEEDS, ["sentence_embedding"])["sentence_embedding"]
    kept = first.copy()
    opened.run({**FEEDS, "input_ids": FEEDS["input_ids"][::-1].copy()}, ["sentence_embedding"])
    np.testing.assert_array_equal(first, kept)


def test_the_usual_output_is_compiled_before_anybody_asks(session):
    """For a stream's share of the threads, and for a pass that has them all."""
    assert set(session("bert", threads=2).backend._compiled) == {
        (("sentence_embedding",), 2, False),
        (("sentence_embedding",), 1, False),
    }
    assert set(session("bert", threads=1).backend._compiled) == {(("sentence_embedding",), 1, False)}


def long_feeds(length: int) -> dict[str, np.ndarray]:
    rows = np.full((1, length), 7)
    return {"input_ids": rows, "attention_mask": np.ones_like(rows), "token_type_ids": np.zeros_like(rows)}


@needs_bf16
def test_in_bf16_short_texts_and_long_ones_are_compiled_for_differently(session):
    opened = session("modernbert", threads=1, precision="bf16")
    assert set(opened.backend._compiled) == {(("sentence_embedding",), 1, True)}
    for length in (256, 257):
        opened.run(long_feeds(length), ["sentence_embedding"])
    assert set(opened.backend._compiled) == {(("sentence_embedding",), 1, True), (("sentence_embedding",), 1, False)}


@needs_bf16
def test_weights_that_are_too_large_for_copies_are_compiled_once(session, monkeypatch):
    monkeypatch.setattr("pool_export.runtime.session._COPIED", 1000)
    opened = session(threads=2, precision="bf16")
    opened.run(FEEDS, ["sentence_embedding"], alone=True)
    assert set(opened.backend._compiled) == {(("sentence_embedding",), 2, False)}


@needs_bf16
def test_an_image_is_no_short_text(vision_bundle: Callable[[str], Path]):
    """Its second axis holds colours; a tower attends to hundreds of patches."""
    bundle = open_bundle(vision_bundle("clip"))
    opened = Session(
        bundle, RuntimeConfig(device="openvino", precision="bf16", threads=1), bundle.manifest.image.graphs
    )
    assert [unfused for _, _, unfused in opened.backend._compiled] == [False]


def test_no_more_than_a_few_kernels_are_kept_for_shapes_seen(session, monkeypatch):
    """OpenVINO's own limit is 5,000 a stream: gigabytes, after some hundreds of shapes."""
    asked, compile_model = [], openvino.Core.compile_model

    def watched(core: Any, model: Any, device: str, how: dict[str, Any]) -> Any:
        asked.append((how["NUM_STREAMS"], how["CPU_RUNTIME_CACHE_CAPACITY"]))
        return compile_model(core, model, device, how)

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    session(threads=2).run(FEEDS, ["last_hidden_state"])
    assert sorted(asked[:2]) == [(1, 500), (2, 100)]
    assert asked[2:] == [(2, 100)]
    session(threads=1)
    assert asked[3:] == [(1, 100)]


@pytest.mark.parametrize("name", ["CPU_RUNTIME_CACHE_CAPACITY", pytest.param("SNIPPETS_MODE", marks=needs_bf16)])
def test_an_openvino_without_those_properties_compiles_as_it_comes(name: str, session, monkeypatch):
    precision = "bf16" if HAS_BF16 else "fp32"
    asked, compile_model = [], openvino.Core.compile_model

    def without(core: Any, model: Any, device: str, how: dict[str, Any]) -> Any:
        asked.append(sorted(set(how) & {"CPU_RUNTIME_CACHE_CAPACITY", "SNIPPETS_MODE"}))
        if asked[-1]:
            raise RuntimeError(f"NotFound: Unsupported property {name} by CPU plugin.")
        return compile_model(core, model, device, how)

    monkeypatch.setattr(openvino.Core, "compile_model", without)
    opened = session(threads=1, precision=precision)
    assert [bool(item) for item in asked] == [True, False]
    assert opened.run(FEEDS, ["last_hidden_state"])["last_hidden_state"].shape == (2, 4, 32)
    assert [bool(item) for item in asked] == [True, False, False]


def test_what_else_openvino_refuses_is_not_tried_again(session, monkeypatch):
    asked = []

    def failing(*args: Any) -> Any:
        asked.append(args)
        raise RuntimeError("no memory")

    monkeypatch.setattr(openvino.Core, "compile_model", failing)
    with pytest.raises(BundleError, match="no memory"):
        session(threads=1)
    assert len(asked) == 1


def test_a_pass_that_is_alone_answers_the_same(session):
    opened = session(threads=2)
    want = opened.run(FEEDS, ["sentence_embedding"])["sentence_embedding"]
    found = opened.run(FEEDS, ["sentence_embedding"], alone=True)["sentence_embedding"]
    np.testing.assert_allclose(found, want, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "qwen3"])
def test_a_lone_text_padded_further_answers_what_onnxruntime_answers(tiny_bundle: Callable[..., Path], family: str):
    """In float32, where a wrong answer shows; it is done in bfloat16 only."""
    ours, theirs = (LLM(tiny_bundle(family), device=device) for device in ("openvino", "cpu"))
    assert (ours.engine.session.length_step, theirs.engine.session.length_step) == (1, 1)
    ours.engine.session.backend.length_step = 16
    for length in (2, 5, 15):
        ids = {"prompt_token_ids": [5, *range(6, 5 + length)]}
        for task in ("embed", "encode"):
            found, want = (llm.encode(ids, pooling_task=task)[0].outputs.data for llm in (ours, theirs))
            assert found.shape == want.shape
            np.testing.assert_allclose(found, want, atol=2e-5)


@needs_bf16
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_lone_text_is_padded_where_rows_of_padding_are_free(tiny_bundle: Callable[..., Path], precision: str):
    """In float32 17 tokens took half longer at 32 (a 0.6 B decoder)."""
    llm = LLM(tiny_bundle("bert"), device="openvino", precision=precision)
    seen, run = [], llm.engine.session.backend.run

    def watched(feeds: Any, outputs: Any, **how: bool) -> Any:
        seen.append(feeds["input_ids"].shape)
        return run(feeds, outputs, **how)

    llm.engine.session.backend.run = watched  # type: ignore[method-assign]
    llm.embed({"prompt_token_ids": [5, 6, 7]})
    assert seen == [(1, {"fp32": 3, "bf16": 16}[precision])]


def test_memory_is_given_back_by_every_compiled_graph(session, monkeypatch):
    opened = session(threads=2)
    opened.run(FEEDS, ["last_hidden_state"], gives_back=False)
    released: list[Any] = []
    for key, requests in opened.backend._compiled.items():
        monkeypatch.setattr(requests, "release", lambda key=key: released.append(key))
    monkeypatch.setattr(open_vino, "return_free_memory", lambda: released.append("heap"))
    opened.run(FEEDS, ["sentence_embedding"], gives_back=False)
    assert released == []
    opened.run(FEEDS, ["sentence_embedding"], gives_back=True)
    assert len(released) == 4
    assert released[-1] == "heap"


def test_more_callers_than_streams_wait_their_turn(session):
    opened = session(threads=2)
    want = opened.run(FEEDS, ["sentence_embedding"])["sentence_embedding"]
    found: list[np.ndarray] = []
    callers = [
        threading.Thread(target=lambda: found.append(opened.run(FEEDS, ["sentence_embedding"])["sentence_embedding"]))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 8
    for value in found:
        np.testing.assert_allclose(value, want, atol=1e-6)


def test_inputs_of_different_shapes_are_refused(session):
    opened = session(threads=1)
    odd = {**FEEDS, "token_type_ids": np.zeros((2, 7), np.int64)}
    for _ in range(3):
        with pytest.raises(
            RuntimeFailure, match=r"the graph failed on a batch of shape \(2, 4\): the inputs have different shapes"
        ):
            opened.run(odd, ["sentence_embedding"])
    assert opened.run(FEEDS, ["sentence_embedding"])["sentence_embedding"].shape == (2, 32)


def test_a_damaged_file_is_named(bert_copy: Path):
    graph = bert_copy / "onnx/model.onnx"
    bundle = open_bundle(bert_copy)
    graph.write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"model\.onnx cannot be loaded"):
        Session(bundle, RuntimeConfig(device="openvino"))
