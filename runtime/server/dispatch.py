"""A route as an ASGI application: admission, reading, a worker thread, and every error in its place."""

from __future__ import annotations

import asyncio
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ..scheduling.call import Call, Overloaded, Stopping
from .auth import KeyCheck
from .config import ServerConfig
from .exchange import Exchange, Reply
from .metrics import Metrics
from .models import Registry
from .observers import Finished, Observers
from .problems import body_of, headers_of, problem_of
from .reading import BodyBudget, Incoming, check_content_type, decode, read_body
from .route import Route

# Seconds that a request's thread has for noticing that the request is over.
_PARTING = 0.2
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(eq=False)
class ServerState:
    """What all requests share. The counts are touched by the event loop only.

    Attributes:
        active: threads at work on computing requests; one may outlive its request's deadline.
        accepted: computing requests that were let in and have no answer yet.
    """

    models: Registry
    config: ServerConfig
    check_key: KeyCheck
    observers: Observers
    metrics: Metrics
    workers: ThreadPoolExecutor
    attendants: ThreadPoolExecutor  # for routes that must answer while every worker is busy
    bodies: BodyBudget
    active: int = 0
    accepted: dict[Call, asyncio.Task[Any]] = field(default_factory=dict)

    @property
    def is_stopping(self) -> bool:
        """Whether the server is shutting down and takes no new requests."""
        return self.models.is_stopping

    def stop(self) -> None:
        """Take no new requests; `/ready` says so. Safe in a signal handler."""
        self.models.is_stopping = True

    def accept(self, call: Call) -> None:
        """Let a computing request in, before its body is read: from here on, stopping waits for its answer.

        Raises:
            Stopping: the server takes nothing new.
            Overloaded: all places are taken.
        """
        if self.is_stopping:
            raise Stopping("the server is shutting down and takes no new requests")
        self.check_room()
        if (task := asyncio.current_task()) is not None:
            self.accepted[call] = task
            task.add_done_callback(lambda _: self.accepted.pop(call, None))

    def enter(self) -> None:
        """Take a place for a request whose body is here.

        Raises:
            Overloaded: all places are taken.
        """
        self.check_room()
        self.active += 1

    def check_room(self) -> None:
        """Refuse where all places are taken.

        Raises:
            Overloaded: they are.
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

    async def give_up(self) -> None:
        """End every accepted request that has no answer yet: it gets a 503, even where its thread is stuck."""
        for call in list(self.accepted):
            call.cancel(Stopping("the server stopped before this request was answered; send it again"))
        await asyncio.sleep(_PARTING)
        if stuck := list(self.accepted.values()):
            for task in stuck:
                task.cancel()
            await asyncio.wait(stuck, timeout=_PARTING)


class Endpoint:
    """One route over one server's state: an ASGI application."""

    def __init__(self, route: Route, state: ServerState) -> None:
        """Bind the two."""
        self.route = route
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes an answer too."""
        incoming = Incoming(receive, Headers(scope=scope))
        request = Request(scope, incoming)
        exchange = new_exchange(request, self.state)
        error: Exception | None = None
        try:
            response = _response(await self._answer(request, exchange, incoming))
        except Exception as caught:  # noqa: BLE001  (the one place where errors become answers)
            error = caught
            response = self._problem(caught)
        finished = Finished(request, self.route, response.status_code, exchange, exchange.call.finish(), error)
        response.headers["x-request-id"] = exchange.request_id
        response.headers.update(self.state.observers.headers(finished))
        if incoming.leaves_much_unread or self.state.is_stopping:
            response.headers["connection"] = "close"
        try:
            await response(scope, receive, send)
        finally:
            self.state.observers.done(finished)

    async def _answer(self, request: Request, exchange: Exchange, receive: Receive) -> Reply:
        try:
            return await self._admitted(request, exchange, receive)
        except asyncio.CancelledError:  # `give_up`, which has said why; the client shall hear of it
            exchange.call.check()
            raise

    async def _admitted(self, request: Request, exchange: Exchange, receive: Receive) -> Reply:
        state, route = self.state, self.route
        if route.computes:
            state.check_key(request)
            state.accept(exchange.call)
        data = await self._body(request)
        try:
            if not route.computes:
                return await _in_thread(state.attendants, self._work, exchange, data)
            state.enter()
            return await self._watched(exchange, data, receive)
        finally:
            state.bodies.give_back(len(data or b""))

    async def _body(self, request: Request) -> bytes | None:
        if self.route.body is None:
            return None
        check_content_type(request)
        config = self.state.config
        return await read_body(request, config.max_body, config.read_timeout, self.state.bodies)

    async def _watched(self, exchange: Exchange, data: bytes | None, receive: Receive) -> Reply:
        """Work in a thread. The deadline, and a client that hangs up, take the texts out of the queue.

        A client that shuts down only its sending side counts as gone: uvicorn does not tell the two apart, and
        neither does nginx.
        """
        call = exchange.call
        work = asyncio.ensure_future(_in_thread(self.state.workers, self._work, exchange, data))
        work.add_done_callback(self._worked)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((work, gone), timeout=call.remaining(), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                call.cancel() if gone.done() else call.expire()
                # A thread that waits for a batch hears of it at once; one that computes keeps its place until it is
                # done, but nobody has to wait for it.
                await asyncio.wait((work,), timeout=_PARTING)
                if not work.done():
                    call.check()
            return await work
        finally:
            gone.cancel()

    def _worked(self, work: asyncio.Future[Reply]) -> None:
        self.state.leave()
        if not work.cancelled():
            work.exception()  # seen, or asyncio complains of those that nobody waited for

    def _work(self, exchange: Exchange, data: bytes | None) -> Reply:
        call = exchange.call
        call.note_taken_up()
        call.check()
        body = None if data is None else decode(data, self.route.body)
        call.note_decoded()
        try:
            return self.route.handle(exchange, body)
        finally:
            call.note_encoded()

    def _problem(self, error: Exception) -> Response:
        body = orjson.dumps(body_of(error, self.route.dialect))
        status = problem_of(error).status
        return Response(body, status, headers=dict(headers_of(error)), media_type="application/json")


def _response(reply: Reply) -> Response:
    return Response(reply.body, headers=dict(reply.headers), media_type=reply.media_type)


def new_exchange(request: Request, state: ServerState) -> Exchange:
    """A request's surroundings; its clock starts here."""
    return Exchange(
        models=state.models,
        config=state.config,
        request_id=_request_id(request),
        call=Call(state.config.request_timeout),
        metrics=state.metrics,
        headers=request.headers,
    )


def _request_id(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def _in_thread(pool: ThreadPoolExecutor, work: Any, *arguments: Any) -> Reply:
    reply: Reply = await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
    return reply


async def _disconnected(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
