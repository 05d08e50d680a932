"""The server's log: lines on stderr, for people or as JSON, one a request with its id. Never a text of a client."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, TextIO

import orjson

from ..errors import InputError
from .observers import Finished
from .problems import INTERNAL, BadRequest, problem_of

log = logging.getLogger("pool_export.server")

# Asked every few seconds by what watches the server; logged from level debug on, or where they fail.
_PROBES = frozenset({"/health", "/ready", "/metrics"})
# Their sentences quote what the client sent, so the client alone may read them.
_QUOTING = (InputError, BadRequest)
# Refusals that say something of the server's state rather than of the request.
_STRAINED = frozenset({429, 503, 504})
# Characters: a client chooses the length of a path, and of the name of a model that is not served.
_MOST_OF_A_PATH, _MOST_OF_AN_ERROR = 200, 500

# Lines that may wait for whoever reads stderr; more are counted and dropped. And seconds to write them at the end.
_MOST_WAITING = 10_000
_LAST_LINES = 5.0

_PLAIN = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f]+")


def log_request(finished: Finished) -> None:
    """Write the line of an answered request; an unknown error's traceback goes with it."""
    error, level = finished.error, _level(finished)
    if log.isEnabledFor(level):
        unknown = error if error is not None and problem_of(error) is INTERNAL else None
        fields = request_fields(finished)
        line = f"{fields['method']} {fields['path']} {finished.status}"
        log.log(level, line, exc_info=unknown, extra={"fields": fields})


def _level(finished: Finished) -> int:
    if finished.status in _STRAINED:
        return logging.WARNING
    if finished.status >= 500:
        return logging.ERROR
    return logging.DEBUG if finished.name in _PROBES else logging.INFO


def request_fields(finished: Finished) -> dict[str, Any]:
    """What is logged of a request; times in milliseconds."""
    exchange, times, error = finished.exchange, finished.timings, finished.error
    scope = finished.request.scope
    client = scope.get("client")
    fields: dict[str, Any] = {
        "request_id": exchange.request_id,
        "method": scope["method"],
        "path": scope["path"][:_MOST_OF_A_PATH],
        "status": finished.status,
        "total_ms": _ms(times.total),
        "client": client[0] if client else None,
    }
    if finished.computes:
        fields |= {
            "model": exchange.served.name if exchange.served else None,
            "rows": exchange.call.rows,
            "tokens": exchange.call.prompt_tokens,
            "truncated": exchange.call.truncated,
            "tokenize_ms": _ms(times.tokenize),
            "queue_ms": _ms(times.queue),
            "forward_ms": _ms(times.forward),
        }
    if error is not None:
        fields["error_type"] = type(error).__name__
        fields["param"] = getattr(error, "param", None)
        fields["error"] = None if isinstance(error, _QUOTING) else str(error)[:_MOST_OF_AN_ERROR]
    return {name: value for name, value in fields.items() if value is not None}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


def say(message: str, **fields: Any) -> None:
    """Log a line about the server itself, also while the exporter's libraries are kept quiet (``export/quiet.py``)."""
    if log.getEffectiveLevel() <= logging.INFO:
        log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, message, (), None, extra={"fields": fields}))


class LoggedSteps:
    """Shows the steps of loading as lines of the log (``export.reporting.Reporter``)."""

    def note(self, text: str) -> None:
        """Log one line."""
        say(text)

    @contextlib.contextmanager
    def step(self, title: str, total: int | None = None, *, animated: bool = True) -> Iterator[None]:
        """Log the beginning of a step."""
        say(f"{title} …")
        yield None


# ------------------------------------------------------------------------------------------- formats


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """The fields of a line; another library's line has its logger's name."""
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields if record.name == log.name else {"logger": record.name, **fields}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """One JSON object a line; a traceback is a string in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        line |= fields_of(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # A path may hold what is no UTF-8 (a surrogate), which JSON cannot.
        return orjson.dumps(_clean(line), default=str).decode()


def _clean(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in line.items()
    }


class TextLines(logging.Formatter):
    """Time, level, sentence, ``name=value``; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        # The sentence of a request has a path in it, which must not be able to begin a line of its own.
        message = record.getMessage()
        if not message.isprintable():
            message = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message)
        told = {"method", "path", "status"}
        fields = " ".join(f"{name}={_shown(value)}" for name, value in fields_of(record).items() if name not in told)
        line = f"{_time(record)} {record.levelname:<7} {message}  {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _shown(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


FORMATS: Mapping[str, type[logging.Formatter]] = {"text": TextLines, "json": JsonLines}


# ------------------------------------------------------------------------------------------- writing


class _Writer(logging.Handler):
    """Writes in a thread of its own, so that a slow reader of stderr never holds up the event loop."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__()
        self._target = target
        self._lost = 0
        # A SimpleQueue may be put to by a signal's handler that interrupts another put.
        self._lines: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="pool-export-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= _MOST_WAITING:
            self._lost += 1
            return
        lost, self._lost = self._lost, 0
        if lost:
            message = f"{lost} lines of the log were dropped: stderr was not read fast enough"
            self._lines.put(logging.LogRecord(log.name, logging.WARNING, __file__, 0, message, (), None))
        self._lines.put(record)

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join(_LAST_LINES)
        super().close()

    def _write(self) -> None:
        while (record := self._lines.get()) is not None:
            self._target.handle(record)


@contextlib.contextmanager
def logging_to(stream: TextIO, style: str, level: str) -> Iterator[None]:
    """Send every library's log lines to a stream while the server runs; the other libraries' from warnings on.

    Args:
        stream: stderr.
        style: one of ``FORMATS``.
        level: the least of the server's own lines; ``debug`` shows uvicorn's information too.
    """
    root, ours = logging.getLogger(), logging.getLogger("pool_export")
    before = root.handlers[:], root.level, ours.level
    target = logging.StreamHandler(stream)
    target.setFormatter(FORMATS[style]())
    writer = _Writer(target)
    root.handlers[:] = [writer]
    root.setLevel(logging.INFO if level == "debug" else logging.WARNING)
    ours.setLevel(level.upper())
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        ours.setLevel(before[2])
        writer.close()
