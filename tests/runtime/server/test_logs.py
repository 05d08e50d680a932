from __future__ import annotations

import io
import json
import logging
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from pool_export.runtime.errors import InputError, RuntimeFailure
from pool_export.runtime.scheduling.call import Overloaded
from pool_export.runtime.server import logs
from pool_export.runtime.server.logs import LoggedSteps, log_request, logging_to, say
from pool_export.runtime.server.problems import BadRequest, NotReady, TooManyInputs

from .seen import PROBE, finished

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def written(act: Callable[[], object], style: str = "json", level: str = "info") -> str:
    """Return what `act` writes to the log."""
    stream = io.StringIO()
    with logging_to(stream, style, level):
        act()
    return stream.getvalue()


def parsed(act: Callable[[], object], level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(act, "json", level).splitlines()]


def raised(error: Exception) -> Exception:
    """Return the error with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_request_is_one_line_of_json() -> None:
    (line,) = parsed(lambda: log_request(finished(truncated=1)))
    assert re.fullmatch(TIME, line.pop("time"))
    assert line == {
        "level": "info",
        "message": "POST /v1/embed 200",
        "request_id": "request-1",
        "method": "POST",
        "path": "/v1/embed",
        "status": 200,
        "client": "10.0.0.7",
        "model": "minilm",
        "rows": 3,
        "tokens": 24,
        "truncated": 1,
        "tokenize_ms": 2.0,
        "queue_ms": 10.0,
        "forward_ms": 50.0,
        "total_ms": 70.0,
    }


def test_a_request_is_one_line_for_people() -> None:
    line = written(lambda: log_request(finished()), "text")
    assert re.fullmatch(
        TIME + r" INFO    POST /v1/embed 200  request_id=request-1 total_ms=70\.0 client=10\.0\.0\.7 model=minilm "
        r"rows=3 tokens=24 truncated=0 tokenize_ms=2\.0 queue_ms=10\.0 forward_ms=50\.0\n",
        line,
    )


@pytest.mark.parametrize(
    ("error", "status", "level", "sentence"),
    [
        (InputError("the text 'SECRET' is too long"), 400, "info", None),
        (BadRequest('input: Expected `str`, got "SECRET"', "input"), 400, "info", None),
        (TooManyInputs("input holds 9 items"), 422, "info", "input holds 9 items"),
        (Overloaded("the queue is full", 2.0), 429, "warning", "the queue is full"),
        (NotReady("forward passes fail: minilm"), 503, "warning", "forward passes fail: minilm"),
        (RuntimeFailure("the graph failed"), 500, "error", "the graph failed"),
    ],
)
def test_errors_are_named_and_quote_no_client(error: Exception, status: int, level: str, sentence: str | None) -> None:
    (line,) = parsed(lambda: log_request(finished(status=status, error=error)))
    assert (line["level"], line["error_type"], line.get("error")) == (level, type(error).__name__, sentence)
    assert line.get("param") == getattr(error, "param", None)
    assert "SECRET" not in str(line)
    assert "traceback" not in line


def test_an_unknown_error_has_its_traceback_in_the_same_line() -> None:
    request = finished(status=500, error=raised(KeyError("what went wrong")))
    (line,) = parsed(lambda: log_request(request))
    assert line["request_id"] == "request-1"
    assert line["traceback"].startswith("Traceback (most recent call last):\n")
    assert "what went wrong" in line["traceback"]
    first, *following = written(lambda: log_request(request), "text").splitlines()
    assert "request_id=request-1" in first
    assert following[0] == "Traceback (most recent call last):"


def test_probes_are_logged_from_debug_on_or_where_they_fail() -> None:
    probe = finished(route=PROBE, path="/health", rows=0)
    assert written(lambda: log_request(probe)) == ""
    assert len(parsed(lambda: log_request(probe), "debug")) == 1
    failed = finished(route=PROBE, path="/health", rows=0, status=503, error=NotReady("no"))
    assert len(parsed(lambda: log_request(failed))) == 1


def test_the_level_is_the_least_that_is_logged() -> None:
    assert written(lambda: log_request(finished()), level="warning") == ""
    assert len(parsed(lambda: log_request(finished(status=500, error=RuntimeFailure("x"))), "warning")) == 1


def test_a_path_cannot_forge_a_line() -> None:
    path = '/x\n2026-01-01T00:00:00.000Z INFO    forged  a="b"' + "y" * 1000
    text = written(lambda: log_request(finished(route=None, path=path, status=404)), "text")
    assert text.count("\n") == 1
    (line,) = parsed(lambda: log_request(finished(route=None, path=path, status=404)))
    assert line["path"] == path[:200]


def test_a_query_is_not_logged() -> None:
    assert "SECRET" not in written(lambda: log_request(finished()))


def test_what_is_no_utf8_is_logged_all_the_same() -> None:
    (line,) = parsed(lambda: say("a \ud83d", name="b\ud83d"))
    assert (line["message"], line["name"]) == ("a \\ud83d", "b\\ud83d")


def test_other_libraries_lines_have_their_names() -> None:
    def others() -> None:
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
        warnings.warn("careful", stacklevel=1)

    lines = parsed(others)
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("uvicorn.error", "warning"),
        ("py.warnings", "warning"),
    ]
    assert "careful" in lines[1]["message"]
    assert "Started server process [7]" in {line["message"] for line in parsed(others, "debug")}


def test_steps_are_logged_while_the_exporter_is_quiet() -> None:
    def load() -> None:
        logging.disable(logging.ERROR)
        try:
            with LoggedSteps().step("loading x"):
                LoggedSteps().note("a card was used")
        finally:
            logging.disable(logging.NOTSET)

    assert [line["message"] for line in parsed(load)] == ["loading x …", "a card was used"]


def test_logging_is_left_as_it_was() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("pool_export").level
    written(lambda: say("x"))
    assert (root.handlers[:], root.level, logging.getLogger("pool_export").level) == before


def test_a_reader_that_is_stuck_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MOST_WAITING", 3)
    unstuck, entered = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            entered.set()
            assert unstuck.wait(30)
            return super().write(text)

    stream = Stuck()
    with logging_to(stream, "json", "info"):
        say("first")
        assert entered.wait(30)
        for number in range(10):
            say(f"line {number}")
        unstuck.set()
        while "line 2" not in stream.getvalue():
            pass
        say("last")
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    dropped = "7 lines of the log were dropped: stderr was not read fast enough"
    assert messages == ["first", "line 0", "line 1", "line 2", dropped, "last"]
