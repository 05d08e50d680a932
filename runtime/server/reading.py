"""From the bytes of a request to a typed body, and what to say where that fails."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from ..scheduling.call import Cancelled
from .explaining import explain_malformed, explain_mismatch
from .problems import BadRequest, BodyTooLarge, BodyTooSlow

Body = TypeVar("Body")


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Read a request's body.

    Raises:
        BodyTooLarge: more than ``limit`` bytes, declared or sent.
        BodyTooSlow: not there after ``seconds``.
        Cancelled: the client went away.
    """
    try:
        declared = int(request.headers.get("content-length", 0))
    except ValueError as error:
        raise BadRequest("the header Content-Length is not a number", "content-length") from error
    if declared > limit:
        raise _too_large(f"{declared} bytes", limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(f"more than {limit} bytes", limit)
                chunks.append(chunk)
    except TimeoutError as error:
        raise BodyTooSlow(f"the body was not sent within {seconds:g} s (read_timeout); {size} bytes came") from error
    except ClientDisconnect as error:
        raise Cancelled("the client closed the connection while it sent its request") from error
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
