"""From the bytes of a request to a typed body, and what to say where that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from ..scheduling.call import Cancelled, Overloaded
from .explaining import explain_malformed, explain_mismatch
from .problems import BadRequest, BodyTooLarge, BodyTooSlow

Body = TypeVar("Body")


# What uvicorn reads ahead anyway; a connection with less on its way can be used again after an early answer.
_READ_AHEAD = 64 * 1024


class BodyBudget:
    """Bytes of request bodies in the server, all requests together. Touched by the event loop only.

    Attributes:
        limit: how many there may be; a body that is alone may be larger (``max_body`` bounds it).
        held: how many there are.
    """

    def __init__(self, limit: int) -> None:
        """Start with none."""
        self.limit = limit
        self.held = 0

    def take(self, count: int, own: int) -> None:
        """Count bytes that came of a body of which ``own`` bytes are here.

        Raises:
            Overloaded: there is no room for them.
        """
        if self.held > own and self.held + count > self.limit:
            raise Overloaded(
                f"the request bodies in this server hold {self.held} bytes, {count} more came, the limit is "
                f"{self.limit} (max_bodies); try again later",
                1.0,
            )
        self.held += count

    def give_back(self, count: int) -> None:
        """Count bytes that are gone."""
        self.held -= count


class Incoming:
    """ASGI's ``receive`` that knows whether the whole body has come."""

    def __init__(self, receive: Receive, headers: Mapping[str, str]) -> None:
        """Wrap it."""
        self._receive = receive
        length = headers.get("content-length", "")
        self._is_small = int(length) <= _READ_AHEAD if length.isdigit() else "transfer-encoding" not in headers
        self._is_complete = False

    @property
    def leaves_much_unread(self) -> bool:
        """Whether an answer now should close the connection; else uvicorn would read the rest to its end."""
        return not self._is_complete and not self._is_small

    async def __call__(self) -> Message:
        """Receive."""
        message = await self._receive()
        self._is_complete |= message["type"] == "http.request" and not message.get("more_body")
        return message


async def read_body(request: Request, limit: int, seconds: float, budget: BodyBudget) -> bytes:
    """Read a request's body. Its bytes are taken from the budget, and given back only where this fails.

    Raises:
        BodyTooLarge: more than ``limit`` bytes, declared or sent.
        BodyTooSlow: not there after ``seconds``.
        Overloaded: all bodies together are more than the budget.
        Cancelled: the client went away.
    """
    try:
        declared = int(request.headers.get("content-length", 0))
    except ValueError as error:
        raise BadRequest("the header Content-Length is not a number", "content-length") from error
    if declared > limit:
        raise _too_large(f"{declared} bytes", limit)
    chunks: list[bytes] = []
    size = taken = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(f"more than {limit} bytes", limit)
                budget.take(len(chunk), taken)
                taken = size
                chunks.append(chunk)
        taken = 0
    except TimeoutError as error:
        raise BodyTooSlow(f"the body was not sent within {seconds:g} s (read_timeout); {size} bytes came") from error
    except ClientDisconnect as error:
        raise Cancelled("the client closed the connection while it sent its request") from error
    finally:
        budget.give_back(taken)
    return b"".join(chunks)


def _too_large(found: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body has {found}, the limit is {limit} (max_body); send several requests")


def check_content_type(request: Request) -> None:
    """Refuse a body that does not say it is JSON, as vLLM does.

    Raises:
        BadRequest: names the header and what it holds.
    """
    found = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if found != "application/json":
        raise BadRequest(f"Unsupported Media Type: Only 'application/json' is allowed, got {found!r}", "content-type")


def decode(data: bytes, shape: type[Body]) -> Body:
    """Read JSON of a declared shape. Unknown fields are ignored and numbers may be strings, as in vLLM.

    Raises:
        BadRequest: names the field, what was expected and what was found.
    """
    try:
        return msgspec.json.decode(data, type=shape, strict=False)
    except msgspec.ValidationError as error:
        raise explain_mismatch(str(error), data, shape) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise explain_malformed(data, error) from error
