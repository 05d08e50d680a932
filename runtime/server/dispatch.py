"""A route as an ASGI application: admission, reading, a worker thread, and every error in its place."""

from __future__ import annotations

import asyncio
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ..scheduling.call import Call, Overloaded, Stopping
from .auth import KeyCheck
from .config import ServerConfig
from .exchange import Exchange, Reply
from .models import Registry
from .observers import Finished, Observers
from .problems import body_of, headers_of, problem_of
from .reading import check_content_type, decode, read_body
from .route import Route

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(eq=False)
class ServerState:
    """What all requests share. ``active`` counts the computing requests and is touched by the event loop only."""

    models: Registry
    config: ServerConfig
    check_key: KeyCheck
    observers: Observers
    workers: ThreadPoolExecutor
    attendants: ThreadPoolExecutor  # for routes that must answer while every worker is busy
    active: int = 0
    is_stopping: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self) -> None:
        """Take a place for a computing request.

        Raises:
            Stopping: the server takes nothing new.
            Overloaded: all places are taken.
        """
        if self.is_stopping:
            raise Stopping("the server is shutting down and takes no new requests")
        self.check_room()
        self.active += 1
        self.idle.clear()

    def check_room(self) -> None:
        """Refuse early, before a body is read.

        Raises:
            Overloaded: all places are taken.
        """
        if self.active >= self.config.max_concurrent_requests:
            raise Overloaded(
                f"{self.active} requests are being answered, the limit is {self.config.max_concurrent_requests} "
                "(max_concurrent_requests); try again later",
                max(model.scheduler.retry_after() for model in self.models.models),
            )

    def leave(self) -> None:
        """Give the place back."""
        self.active -= 1
        if not self.active:
            self.idle.set()


class Endpoint:
    """One route over one server's state: an ASGI application."""

    def __init__(self, route: Route, state: ServerState) -> None:
        """Bind the two."""
        self.route = route
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes an answer too."""
        request = Request(scope, receive)
        exchange = Exchange(
            models=self.state.models,
            config=self.state.config,
            request_id=request_id(request),
            call=Call(self.state.config.request_timeout),
            headers=request.headers,
        )
        error: Exception | None = None
        try:
            response = _response(await self._answer(request, exchange, receive))
        except Exception as caught:  # noqa: BLE001  (the one place where errors become answers)
            error = caught
            response = self._problem(caught)
        finished = Finished(self.route, response.status_code, exchange, exchange.call.finish(), error)
        response.headers["x-request-id"] = exchange.request_id
        response.headers.update(self.state.observers.headers(finished))
        try:
            await response(scope, receive, send)
        finally:
            self.state.observers.done(finished)

    async def _answer(self, request: Request, exchange: Exchange, receive: Receive) -> Reply:
        state, route = self.state, self.route
        if not route.computes:
            data = await self._body(request)
            return await _in_thread(state.attendants, self._work, exchange, data)
        state.check_key(request)
        state.check_room()
        data = await self._body(request)
        state.enter()
        try:
            return await self._watched(exchange, data, receive)
        finally:
            state.leave()

    async def _body(self, request: Request) -> bytes | None:
        if self.route.body is None:
            return None
        check_content_type(request)
        return await read_body(request, self.state.config.max_body, self.state.config.read_timeout)

    async def _watched(self, exchange: Exchange, data: bytes | None, receive: Receive) -> Reply:
        """Work in a thread; a client that hangs up takes its texts out of the queue."""
        work = asyncio.ensure_future(_in_thread(self.state.workers, self._work, exchange, data))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                exchange.call.cancel()
            return await work
        except asyncio.CancelledError:  # the server gives up on draining
            exchange.call.cancel()
            raise
        finally:
            gone.cancel()

    def _work(self, exchange: Exchange, data: bytes | None) -> Reply:
        exchange.call.check()
        body = None if data is None else decode(data, self.route.body)
        return self.route.handle(exchange, body)

    def _problem(self, error: Exception) -> Response:
        body = orjson.dumps(body_of(error, self.route.dialect))
        status = problem_of(error).status
        return Response(body, status, headers=dict(headers_of(error)), media_type="application/json")


def _response(reply: Reply) -> Response:
    return Response(reply.body, headers=dict(reply.headers), media_type=reply.media_type)


def request_id(request: Request) -> str:
    """The client's ``X-Request-Id`` where it is one, or a new one."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def _in_thread(pool: ThreadPoolExecutor, work: Any, *arguments: Any) -> Reply:
    reply: Reply = await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
    return reply


async def _disconnected(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
