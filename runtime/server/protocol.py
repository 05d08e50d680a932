"""uvicorn's HTTP protocol for clients that are slow or wrong: bounded heads, and no connection that nobody uses.

uvicorn 0.54 waits for a request's head for ever (measured: a byte a second, or none, keeps a connection open),
httptools takes a head of any size, and an answer that nobody reads stays in memory.
"""

from __future__ import annotations

import asyncio
import http
from typing import Any, ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from .problems import BadRequest, HeadTooLarge, HeadTooSlow, body_of, problem_of

# Request line and headers; nginx takes 32 KiB, Node 16.
MAX_HEAD = 64 * 1024
# A client that reads its answer has to take so much of it in each `read_timeout`.
MIN_READ = 64 * 1024


class GuardedProtocol(HttpToolsProtocol):
    """One connection. ``read_timeout``, in seconds, is set on the subclass that a server makes (``guarded``)."""

    read_timeout: ClassVar[float]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Start with nothing received."""
        super().__init__(*arguments, **named)
        self._in_head = True
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------- the head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Parse what came, of a head no more than may be.

        The parser is fed in slices, because it tells only afterwards where a head ended.
        """
        while data and not self.transport.is_closing():
            room = MAX_HEAD - self._head_size if self._in_head else len(data)
            part, data = data[:room], data[room:]
            self._head_size += len(part)
            super().data_received(part)
            if self._in_head and self._head_size >= MAX_HEAD and not self.transport.is_closing():
                self._refuse(HeadTooLarge(f"request line and headers are longer than the limit of {MAX_HEAD} bytes"))
        if self._head_timer is None and self._is_idle() and not self.transport.is_closing():
            self._expect_head()  # after a keep-alive pause, which uvicorn's timer watched until these bytes came

    def on_headers_complete(self) -> None:
        """Note that a head is complete."""
        self._in_head = False
        _cancel(self._head_timer)
        self._head_timer = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the next bytes are another head."""
        super().on_message_complete()
        self._in_head = True
        self._head_size = 0

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of every other error."""
        self._refuse(BadRequest(f"{msg.rstrip('.')}: expected HTTP/1.1 with valid headers", "request"))

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.read_timeout, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if not self._is_idle():  # a pipelined request behind one that is being answered
            self._expect_head()
        elif self._in_head and self._head_size:
            self._refuse(
                HeadTooSlow(
                    f"request line and headers were not sent within {self.read_timeout:g} s (read_timeout); "
                    f"{self._head_size} bytes came"
                )
            )
        else:
            self.transport.close()

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn declares it as never None
        return cycle is None or cycle.response_complete

    def _refuse(self, error: Exception) -> None:
        if not self._is_idle() and (self.cycle.response_started or self.pipeline):
            self.transport.abort()  # in the middle of an answer there is no place for another
            return
        status, body = problem_of(error).status, orjson.dumps(body_of(error, "openai"))
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    # ------------------------------------------------------------------------------- the answer

    def pause_writing(self) -> None:
        """An answer waits to be read: watch whether it is."""
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has read it."""
        super().resume_writing()
        _cancel(self._write_timer)
        self._write_timer = None

    def _watch_reader(self, unread: int) -> None:
        _cancel(self._write_timer)
        self._write_timer = self.loop.call_later(self.read_timeout, self._check_reader, unread)

    def _check_reader(self, unread: int) -> None:
        now = self.transport.get_write_buffer_size()
        if unread - now < MIN_READ:
            self.transport.abort()
        else:
            self._watch_reader(now)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._write_timer):
            _cancel(timer)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def guarded(read_timeout: float) -> type[GuardedProtocol]:
    """The protocol with a server's patience; uvicorn makes one object a connection from it."""
    return type("ServedProtocol", (GuardedProtocol,), {"read_timeout": read_timeout})
