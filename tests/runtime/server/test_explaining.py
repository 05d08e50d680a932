"""What is said about a body that cannot be read."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from pool_export.runtime.server.problems import BadRequest
from pool_export.runtime.server.reading import decode


class Part(msgspec.Struct):
    kind: Literal["text", "image"]
    values: dict[str, int] = {}


class Body(msgspec.Struct):
    input: str | list[str | int]
    size: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    side: Literal["left", "right"] = "left"
    parts: list[Part] = []


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ("[]", "body", "body: expected an object, got []"),
        ("{}", "input",
         "input: this field is required and missing; expected a string or a list of strings or integers"),
        ('{"input": {"a": 1}}', "input", 'input: expected a string or a list of strings or integers, got {"a":1}'),
        ('{"input": ["a", 1.5]}', "input[1]", "input[1]: expected a string or an integer, got 1.5"),
        ('{"input": "a", "size": -2}', "size", "size: expected an integer (at least -1), or null, got -2"),
        ('{"input": "a", "side": "up"}', "side", 'side: expected one of "left", "right", got "up"'),
        ('{"input": "a", "parts": [{}]}', "parts[0].kind",
         'parts[0].kind: this field is required and missing; expected one of "image", "text"'),
        ('{"input": "a", "parts": [{"kind": "text", "values": {"x": "y"}}]}', "parts[0].values.…",
         "parts[0].values.…: expected an integer, got a string"),
        ('{"input": [' + "[" * 5000, "input[0]", "input[0]: expected a string or an integer, got a list"),
        ('{"input": "a", "size": 1e400}', "body",
         "the body holds a number that is out of range: at most 1.8e308 is read"),
    ],
)  # fmt: skip
def test_a_mismatch_names_field_expectation_and_value(data: str, field: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(data.encode(), Body)
    assert caught.value.param == field
    assert _sorted(str(caught.value)) == _sorted(message)


def _sorted(text: str) -> list[str]:
    """The words: msgspec's schemas name alternatives in an order of their own."""
    return sorted(text.replace(",", " ").split())


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "the body is empty, expected a JSON object"),
        (b'{"input": "a"', "not valid JSON"),
        (b'{"input": NaN}', "NaN is not a JSON number"),
        (b'{"input": "\\ud800"}', "half a surrogate pair (\\ud800)"),
        (b'{"input": "a\xff"}', "byte 12 (0xff) is no UTF-8"),
        (b'{"input": "a", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nests lists or objects too deeply"),
    ],
)
def test_what_is_no_json_is_told_apart(data: bytes, part: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(data, Body)
    assert part in str(caught.value)
    assert caught.value.param == "body"


def test_a_long_value_is_cut() -> None:
    with pytest.raises(BadRequest) as caught:
        decode(msgspec.json.encode({"input": "a", "side": "x" * 10_000}), Body)
    assert len(str(caught.value)) < 200


def test_numbers_may_be_strings_and_unknown_fields_are_ignored() -> None:
    assert decode(b'{"input": "a", "size": "3", "other": {}}', Body) == Body("a", 3)
