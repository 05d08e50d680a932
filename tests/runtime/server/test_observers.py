from __future__ import annotations

import logging

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.server.observers import Finished, Observers

from .seen import PROBE, finished


def test_a_computed_answer_says_where_its_time_went() -> None:
    headers = Observers().headers(finished(truncated=2))
    assert headers == {
        "server-timing": "read;dur=1.00, decode;dur=0.50, tokenize;dur=2.00, queue;dur=10.00, forward;dur=50.00, "
        "encode;dur=3.00, total;dur=70.00",
        # TEI's names and whole milliseconds
        "x-compute-type": "cpu",
        "x-compute-time": "70",
        "x-compute-tokens": "24",
        "x-total-time": "70",
        "x-tokenization-time": "2",
        "x-queue-time": "10",
        "x-inference-time": "50",
        "x-truncated": "2",
    }


def test_whole_texts_have_no_header_for_truncation() -> None:
    assert "x-truncated" not in Observers().headers(finished())


def test_a_refusal_has_no_results_to_time() -> None:
    assert list(Observers().headers(finished(status=400, error=InputError("no")))) == ["server-timing"]


def test_what_computes_nothing_has_no_timings() -> None:
    assert Observers().headers(finished(route=PROBE, path="/health", rows=0)) == {}


def test_names_are_never_the_clients() -> None:
    assert finished(path="/v1/embed").name == "/embed"
    assert finished(route=None, path="/anything").name == "unmatched"
    assert finished().model == "minilm"
    assert finished(error=InputError("no")).model == ""


def test_an_observer_that_fails_keeps_nobody_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Finished] = []

    def fails(request: Finished) -> None:
        raise RuntimeError("boom")

    request = finished()
    with caplog.at_level(logging.ERROR):
        Observers([fails, told.append]).done(request)
    assert told == [request]
    assert "request-1" in caplog.text
    assert "boom" in caplog.text
