"""Bodies: limits while they come, and what is said of JSON that does not fit."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from pool_export.runtime.scheduling.call import Cancelled, Overloaded
from pool_export.runtime.server.problems import BadRequest, BodyTooLarge, BodyTooSlow
from pool_export.runtime.server.reading import BodyBudget, Incoming, check_content_type, decode, read_body


def request(*parts: bytes, ends: str = "http.request", headers: dict[str, str] | None = None) -> Request:
    """A request whose body comes in parts, and then a last message of a type (or none: a client that waits)."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if ends:
        messages.append({"type": ends, "body": b"", "more_body": False})

    async def receive() -> Any:
        return messages.pop(0) if messages else await asyncio.Event().wait()

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "headers": raw}, receive)


def read(found: Request, limit: int = 100, seconds: float = 20, budget: BodyBudget | None = None) -> bytes:
    return asyncio.run(read_body(found, limit, seconds, budget or BodyBudget(1000)))


def test_a_body_up_to_the_limit_is_read() -> None:
    budget = BodyBudget(1000)
    assert read(request(b"a" * 60, b"b" * 40), budget=budget) == b"a" * 60 + b"b" * 40
    assert budget.held == 100


def test_a_declared_size_is_refused_before_anything_is_read() -> None:
    found = request(ends="", headers={"content-length": "101"})
    with pytest.raises(BodyTooLarge, match=r"body has 101 bytes, the limit is 100 \(max_body\)"):
        read(found)


def test_a_body_without_a_size_is_counted() -> None:
    budget = BodyBudget(1000)
    with pytest.raises(BodyTooLarge, match=r"body has more than 100 bytes, the limit is 100 \(max_body\)"):
        read(request(b"a" * 60, b"b" * 60, b"c" * 60), budget=budget)
    assert budget.held == 0


def test_a_slow_body_is_refused() -> None:
    budget = BodyBudget(1000)
    with pytest.raises(BodyTooSlow, match=r"within 0.01 s \(read_timeout\); 2 bytes came"):
        read(request(b"ab", ends=""), seconds=0.01, budget=budget)
    assert budget.held == 0


def test_a_client_that_goes_away_while_it_sends() -> None:
    budget = BodyBudget(1000)
    with pytest.raises(Cancelled, match="while it sent its request"):
        read(request(b"ab", ends="http.disconnect"), budget=budget)
    assert budget.held == 0


def test_all_bodies_together_are_bounded() -> None:
    budget = BodyBudget(150)
    read(request(b"a" * 90), budget=budget)
    with pytest.raises(Overloaded, match=r"hold 130 bytes, 40 more came, the limit is 150 \(max_bodies\)"):
        read(request(b"b" * 40, b"b" * 40), budget=budget)
    assert budget.held == 90
    budget.give_back(90)
    assert len(read(request(b"c" * 45, b"c" * 45), budget=BodyBudget(50))) == 90  # alone, a body has only its own limit


@pytest.mark.parametrize(
    ("headers", "parts", "expected"),
    [
        ({}, 0, False),
        ({"content-length": "65536"}, 0, False),
        ({"content-length": "65537"}, 0, True),
        ({"content-length": "65537"}, 1, True),
        ({"content-length": "65537"}, 2, False),
        ({"transfer-encoding": "chunked"}, 0, True),
        ({"transfer-encoding": "chunked"}, 2, False),
    ],
)
def test_which_early_answers_close_the_connection(headers: dict[str, str], parts: int, expected: bool) -> None:
    incoming = Incoming(request(b"a")._receive, headers)

    async def receive() -> None:
        for _ in range(parts):
            await incoming()

    asyncio.run(receive())
    assert incoming.leaves_much_unread is expected


def test_only_json_is_taken() -> None:
    check_content_type(request(headers={"content-type": "Application/JSON; charset=utf-8"}))
    for found in ("text/plain", ""):
        with pytest.raises(BadRequest, match=f"Only 'application/json' is allowed, got '{found}'"):
            check_content_type(request(headers={"content-type": found}))


class Inner(msgspec.Struct):
    number: int


class Shape(msgspec.Struct):
    items: list[int | str]
    most: int = 3
    inner: Inner | None = None


def test_unknown_fields_are_ignored_and_numbers_may_be_strings() -> None:
    assert decode(b'{"items": [1, "a"], "other": {}, "most": "7"}', Shape) == Shape([1, "a"], 7)


@pytest.mark.parametrize(
    ("data", "param", "parts"),
    [
        (b"{}", "items", ["items: this field is required"]),
        (b'{"items": 3}', "items", ["items: expected a list", "got 3"]),
        (b'{"items": [1, []]}', None, ["items[", "got"]),
        (b'{"items": [], "most": "many"}', "most", ["most: expected an integer", 'got "many"']),
        (
            b'{"items": [], "inner": {"number": null}}',
            "inner.number",
            ["inner.number: expected an integer", "got null"],
        ),
        (b"[]", "body", ["expected an object", "got []"]),
        (b'{"items": [1,', "body", ["the body is not valid JSON"]),
        (b'{"items": ["\xff"]}', "body", ["the body is not valid JSON"]),
        (b"", "body", ["the body is empty"]),
        (b"[" * 100_000, None, []),
        (b'{"items": NaN}', "body", ["the body is not valid JSON"]),
    ],
)
def test_what_does_not_fit_is_named(data: bytes, param: str | None, parts: list[str]) -> None:
    with pytest.raises(BadRequest) as found:
        decode(data, Shape)
    assert all(part in str(found.value) for part in parts), str(found.value)
    assert param is None or found.value.param == param


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(BadRequest) as found:
        decode(msgspec.json.encode({"items": "a" * 10_000}), Shape)
    assert len(str(found.value)) < 200
