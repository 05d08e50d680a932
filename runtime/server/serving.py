"""Run the application: bind, announce, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import uvicorn

from ..errors import InputError, RuntimeFailure
from .app import make_app
from .config import ServerConfig
from .dispatch import ServerState
from .logs import say
from .protocol import guarded

# An idle connection is kept a little longer than common proxies keep theirs (nginx and AWS: 60 s), so that it is the
# proxy that closes it: the other way round, a request is lost now and then that was sent at that very moment.
_KEEP_ALIVE = 65
# Seconds that are left for the process to end by itself, once it is known that a thread is stuck.
_LAST_SECONDS = 1.0


def bind(host: str, port: int) -> socket.socket:
    """Take the address before anything is loaded, so that a port in use is known at once.

    It does not listen yet: until the models have answered, connections are refused, which every load balancer
    and Kubernetes' startup probe understands, and no route has to exist half.

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


def check_certificate(config: ServerConfig) -> None:
    """Read the certificate before anything is loaded.

    Raises:
        InputError: certificate and key cannot be read, or do not belong together.
    """
    if config.ssl_certfile is None:
        return
    try:
        # The callback keeps an encrypted key from asking for its password on the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            config.ssl_certfile, config.ssl_keyfile, password=lambda: ""
        )
    except OSError as error:  # ssl.SSLError is one
        files = " and ".join(filter(None, (config.ssl_certfile, config.ssl_keyfile)))
        raise InputError(f"the certificate of {files} cannot be used: {error.strerror or error}") from error


def serve(state: ServerState, listener: socket.socket, started: Callable[[], object] = lambda: None) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; then answer what was accepted, for at most ``drain_timeout`` seconds.

    ``started`` is called once connections are taken and signals are handled.

    Raises:
        RuntimeFailure: accepted requests were ended without their answer, because the time was up.
    """
    server = DrainingServer(uvicorn_config(state), state, started)
    try:
        server.run(sockets=[listener])
    finally:
        if not _close(state):
            _end_soon(1 if server.unanswered else 0)
    if server.unanswered:
        why = "at the second signal" if server.force_exit else f"after {state.config.drain_timeout:g} s (drain_timeout)"
        raise RuntimeFailure(f"stopped {why}: {server.unanswered} accepted requests were answered 503 instead")


def uvicorn_config(state: ServerState) -> uvicorn.Config:
    """How uvicorn runs the application. The socket comes from ``bind``; logs are not uvicorn's."""
    return uvicorn.Config(
        make_app(state),
        loop="uvloop",
        http=guarded(state.config.read_timeout),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        ssl_certfile=state.config.ssl_certfile,
        ssl_keyfile=state.config.ssl_keyfile,
    )


def _close(state: ServerState) -> bool:
    """End the threads; false where one is stuck."""
    has_ended = state.models.close(_LAST_SECONDS)
    for pool in (state.workers, state.attendants):
        pool.shutdown(wait=False, cancel_futures=True)
    return has_ended and not state.active


def _end_soon(code: int) -> None:
    """Python waits for its worker threads for ever, and a thread inside the graph cannot be ended otherwise."""
    timer = threading.Timer(_LAST_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()


class DrainingServer(uvicorn.Server):
    """uvicorn, but a signal first turns `/ready` into 503 and lets every accepted request be answered.

    Meanwhile it goes on listening: who comes now gets a 503 that says why, not a broken connection. The exit
    code is 0; uvicorn would raise the signal again once everything is answered.

    Attributes:
        unanswered: accepted requests that were ended when the time was up, or at a second signal.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, started: Callable[[], object] = lambda: None
    ) -> None:
        """Take what is to be drained, and what to do once it has started."""
        super().__init__(config)
        self.unanswered = 0
        self._state = state
        self._on_started = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the server runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
            numbers.append(signal.SIGHUP)
        before: dict[signal.Signals, Any] = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop; at the second signal, stop at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._state.stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, then close."""
        self._state.stop()  # also where it was not a signal
        waiting = len(self._state.accepted)
        say(f"stopping: {waiting} requests are being answered", requests_in_flight=waiting)
        until = monotonic() + self._state.config.drain_timeout
        while self._state.accepted and not self.force_exit and monotonic() < until:
            await asyncio.sleep(0.02)
        if self._state.accepted:
            self.unanswered = len(self._state.accepted)
            await self._state.give_up()
        # What is left are answers on their way to slow readers, and idle connections, which uvicorn closes.
        self.config.timeout_graceful_shutdown = max(1, round(until - monotonic()))
        await super().shutdown(sockets)
        say("stopped", unanswered=self.unanswered)
