"""A server in this process: a numpy graph behind the real scheduler and routes, asked with or without a socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.engine import Engine
from pool_export.runtime.scheduling.scheduler import QueueLimits, Scheduler
from pool_export.runtime.server.app import make_app, make_state
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.dispatch import ServerState
from pool_export.runtime.server.models import Registry, Served

JSON = (("content-type", "application/json"),)


class Graph:
    """The numpy graph of a served model, and how it misbehaves. `open` lets batches through."""

    def __init__(self, session: Any) -> None:
        self._run = session.run
        session.run = self.run
        self.error: Exception | None = None
        self.is_finite = True
        self.calls = 0
        self.open, self.entered = threading.Event(), threading.Event()
        self.open.set()

    def run(self, feeds: Any, outputs: Any, **how: Any) -> Any:
        self.calls += 1
        self.entered.set()
        assert self.open.wait(20)
        if self.error is not None:
            raise self.error
        found = self._run(feeds, outputs, **how)
        return found if self.is_finite else {name: np.full_like(value, np.nan) for name, value in found.items()}


@pytest.fixture
def make_served(
    fake_bundle: Callable[..., Path], fake_llm: object, request: pytest.FixtureRequest
) -> Callable[..., Served]:
    """Return `make_served(name, convert, limits)`: a model with a numpy graph (`fake_llm` puts it in place)."""

    def make(name: str = "fake", convert: str = "embed", limits: QueueLimits | None = None, **spec: Any) -> Served:
        engine = Engine(replace(open_bundle(fake_bundle(convert, **spec)), alias=name), RuntimeConfig())
        graph = Graph(engine.session)
        scheduler = Scheduler(engine, limits or QueueLimits(window=0))
        served = Served(name, engine, scheduler)
        object.__setattr__(served, "graph", graph)
        request.addfinalizer(lambda: (graph.open.set(), scheduler.close(20)))
        return served

    return make


@pytest.fixture
def make_server(make_served: Callable[..., Served]) -> Iterator[Callable[..., ServerState]]:
    """Return `make_server(*models, **options)`: the state of a server; without models, one that embeds."""
    made: list[ServerState] = []

    def make(*models: Served, **options: Any) -> ServerState:
        config = ServerConfig(**options)
        limits = QueueLimits(max_tokens=config.max_queued_tokens, window=0)
        made.append(make_state(Registry(models or (make_served(limits=limits),)), config))
        return made[-1]

    yield make
    for state in made:
        state.workers.shutdown(cancel_futures=True)
        state.attendants.shutdown(cancel_futures=True)


@dataclass
class Answer:
    """What an application sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["error"]["message"])


class Client:
    """One request to an application, without a socket.

    `hang_up` is the client's disconnect; where `slow` is set to an event, the body's end comes after that.
    """

    def __init__(self, state: ServerState, path: str, body: Any, headers: Iterable[tuple[str, str]], method: str):
        self._app = make_app(state)
        parts = body if isinstance(body, list) else [body if isinstance(body, bytes) else json.dumps(body).encode()]
        last = len(parts) - 1
        self._messages = [
            {"type": "http.request", "body": part, "more_body": at < last} for at, part in enumerate(parts)
        ]
        self._scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        }
        self.hang_up = asyncio.Event()
        self.slow: asyncio.Event | None = None

    async def ask(self) -> Answer:
        answer = Answer()

        async def receive() -> dict[str, Any]:
            if self.slow is not None and len(self._messages) == 1:
                await self.slow.wait()
            if self._messages:
                return self._messages.pop(0)
            await self.hang_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self._app(self._scope, receive, send)
        return answer


@pytest.fixture
def client() -> Callable[..., Client]:
    """Return `client(state, path, body)`: a request that is still to be asked, inside an event loop."""

    def make(
        state: ServerState,
        body: Any = b"",
        path: str = "/v1/embeddings",
        headers: Iterable[tuple[str, str]] = JSON,
        method: str = "POST",
    ) -> Client:
        return Client(state, path, body, headers, method)

    return make


@pytest.fixture
def ask(client: Callable[..., Client]) -> Callable[..., Answer]:
    """Return `ask(state, body, path, headers, method)`: one answer."""

    def once(*arguments: Any, **named: Any) -> Answer:
        async def run() -> Answer:
            return await client(*arguments, **named).ask()

        return asyncio.run(run())

    return once


@pytest.fixture
def get(ask: Callable[..., Answer]) -> Callable[..., Answer]:
    """Return `get(state, path)`: the answer to a GET."""
    return lambda state, path, headers=(): ask(state, path=path, headers=headers, method="GET")


@contextmanager
def _running(state: ServerState) -> Iterator[tuple[str, int]]:
    import uvicorn

    from pool_export.runtime.server.serving import DrainingServer, bind, uvicorn_config

    listener = bind("127.0.0.1", 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # the kernel takes little off the server's hands
    address = listener.getsockname()[:2]
    server: uvicorn.Server = DrainingServer(uvicorn_config(state), state)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    pause = threading.Event()
    assert any(server.started or pause.wait(0.005) for _ in range(4000))
    yield address
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def listen() -> Iterator[Callable[[ServerState], tuple[str, int]]]:
    """Return `listen(state)`: serve on a socket from a thread; the address."""
    with ExitStack() as stack:
        yield lambda state: stack.enter_context(_running(state))
