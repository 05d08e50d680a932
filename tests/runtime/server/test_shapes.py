"""JSON schemas in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from pool_export.runtime.server.shapes import in_words, inside, schema_of, shown


class Inner(msgspec.Struct):
    text: str
    size: Annotated[int, msgspec.Meta(ge=1, le=5)] | None = None


class Outer(msgspec.Struct):
    one: Inner
    many: list[Inner | str]
    free: dict[str, float]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (str, "a string"),
        (int | None, "an integer, or null"),
        (float, "a number"),
        (bool, "true or false"),
        (None, "null"),
        (Any, "any value"),
        (Literal["a", "b"], 'one of "a", "b"'),
        (Literal["a"], '"a"'),
        (Literal["a", "b"] | None, 'one of "a", "b", or null'),
        (Annotated[int, msgspec.Meta(ge=-1)], "an integer (at least -1)"),
        (Annotated[float, msgspec.Meta(gt=0, lt=1)], "a number (above 0, below 1)"),
        (Annotated[str, msgspec.Meta(min_length=1, max_length=9)], "a string (length at least 1, length at most 9)"),
        (list[str], "a list of strings"),
        (str | list[str | int | list[int]], "a string or a list of strings, integers or lists of integers"),
        (dict[str, int], "an object"),
        (Inner, "an object"),
        (Inner | str, "a string or an object"),
    ],
)  # fmt: skip
def test_in_words(shape: Any, words: str) -> None:
    schema, components = schema_of(shape)
    found = in_words([schema], components)
    assert sorted(found.replace(",", "").split()) == sorted(words.replace(",", "").split())
    assert found.endswith(", or null") is words.endswith(", or null")


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (["one"], "an object"),
        (["one", "size"], "an integer (at least 1, at most 5), or null"),
        (["many", 3, "text"], "a string"),
        (["free", "anything"], "a number"),
    ],
)
def test_inside(steps: list[str | int], words: str) -> None:
    schema, components = schema_of(Outer)
    assert in_words(inside(schema, components, steps), components) == words


@pytest.mark.parametrize("steps", [["two"], ["one", 0], ["many", "text"], ["one", "text", "more"]])
def test_a_place_that_is_not_there(steps: list[str | int]) -> None:
    schema, components = schema_of(Outer)
    assert inside(schema, components, steps) == []


def test_a_long_value_is_cut() -> None:
    assert shown({"a": [1, None]}) == '{"a":[1,null]}'
    assert len(shown("x" * 500)) == 80
    assert shown("x" * 500).endswith("…")
