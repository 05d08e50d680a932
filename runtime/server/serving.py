"""Run the application: bind, load, announce, serve, drain."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from ..errors import InputError
from .app import make_app
from .dispatch import ServerState
from .logs import say

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int) -> socket.socket:
    """Take the address before anything is loaded, so that a port in use is known at once.

    Raises:
        InputError: the address cannot be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise InputError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another --port"
        ) from error
    return found


def serve(state: ServerState, listener: socket.socket, started: Callable[[], object] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT; then answer what was accepted, for at most ``drain_timeout`` seconds.

    ``started`` is called once connections are taken and signals are handled.
    """
    config = uvicorn.Config(
        make_app(state),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(max(1, state.config.drain_timeout)),
    )
    server = _Server(config, state, started)
    try:
        server.run(sockets=[listener])
    finally:
        state.models.close()
        state.workers.shutdown(wait=False, cancel_futures=True)
        state.attendants.shutdown(wait=False, cancel_futures=True)


class _Server(uvicorn.Server):
    """uvicorn, but a signal ends in exit code 0: uvicorn raises it again once everything is answered."""

    def __init__(self, config: uvicorn.Config, state: ServerState, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._state = state
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before: dict[int, Any] = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        say(f"stopping: {self._state.active} requests are being answered", requests_in_flight=self._state.active)
        await super().shutdown(sockets)
        say("stopped")

    def _stop(self, number: int, frame: object) -> None:
        self._state.is_stopping = True
        self.handle_exit(number, None)
