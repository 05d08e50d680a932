"""What a client is told about a body that cannot be read: the field, what was expected there, and what was found."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import msgspec

from .problems import BadRequest
from .shapes import Step, in_words, inside, schema_of, shown

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_REQUIRED = re.compile(r"required field `([^`]+)`")
_KIND = re.compile(r"got `([^`]+)`")
_NOUNS = {"array": "a list", "object": "an object", "str": "a string"}


def explain_malformed(data: bytes, error: Exception) -> BadRequest:
    """Say why bytes are no JSON. Python's own parser says it better than the fast one: with line and column."""
    if not data.strip():
        return BadRequest("the body is empty, expected a JSON object", "body")
    if isinstance(error, RecursionError):
        return _too_deep()
    try:
        text = data.decode()
        json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as fault:
        return BadRequest(
            f"the body is not valid JSON: byte {fault.start} (0x{data[fault.start]:02x}) is no UTF-8", "body"
        )
    except RecursionError:
        return _too_deep()
    except ValueError as fault:
        return BadRequest(f"the body is not valid JSON: {fault}", "body")
    if found := re.search(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}", text):
        why = f"a string holds half a surrogate pair ({found[0]}), which is not Unicode text"
        return BadRequest(f"the body is not valid JSON: {why}", "body")
    return BadRequest(f"the body is not valid JSON: {error}", "body")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _too_deep() -> BadRequest:
    return BadRequest(
        f"the body nests lists or objects too deeply: {sys.getrecursionlimit()} levels are the limit", "body"
    )


def explain_mismatch(message: str, data: bytes, shape: Any) -> BadRequest:
    """Say where JSON is not of a route's shape.

    Args:
        message: msgspec's, which holds the place (``… - at `$.input[0]```).
        data: the body.
        shape: the type it was read as.
    """
    found = _PATH.match(message)
    what, path = (found["what"], found["path"] or "$") if found else (message, "$")
    if "out of range" in what:  # msgspec does not know where: 1e400
        return BadRequest("the body holds a number that is out of range: at most 1.8e308 is read", "body")
    steps = _steps(path)
    if missing := _REQUIRED.search(what):
        steps = [*steps, missing[1]]
    field = _name(steps)
    schema, components = schema_of(shape)
    places = inside(schema, components, steps)
    expected = in_words(places, components) if places else what
    if missing:
        return BadRequest(f"{field}: this field is required and missing; expected {expected}", field)
    return BadRequest(f"{field}: expected {expected}, got {_found(data, steps, what)}", field)


def _steps(path: str) -> list[Step]:
    """Read a msgspec path; it writes ``[...]`` for a key of a mapping, which it does not name."""
    found = _STEP.findall(path.removeprefix("$"))
    return [name or (int(index) if index.isdigit() else "…") for name, index in found]


def _name(steps: list[Step]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.lstrip(".") or "body"


def _found(data: bytes, steps: list[Step], what: str) -> str:
    try:
        value = msgspec.json.decode(data)
        for step in steps:
            value = value[step]
    except (msgspec.MsgspecError, RecursionError, KeyError, IndexError, TypeError):
        kind = _KIND.search(what)  # the body cannot be read as a whole, or msgspec does not name the place
        return _NOUNS.get(kind[1], kind[1]) if kind else "something else"
    return shown(value)
