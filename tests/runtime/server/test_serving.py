"""Binding, certificates, and the end of a server, with uvicorn in a thread of this process."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pool_export.runtime.errors import InputError
from pool_export.runtime.server import serving
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.dispatch import ServerState
from pool_export.runtime.server.serving import DrainingServer, bind, check_certificate, uvicorn_config

Make = Callable[..., ServerState]
HEADERS = {"content-type": "application/json"}
BODY = json.dumps({"input": "one two"})


def test_an_address_in_use_is_told_before_anything_is_loaded() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        first.listen()
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1 port {port}: .*choose another --port"):
            bind("127.0.0.1", port)
    with pytest.raises(InputError, match=r"cannot listen on no\.such\.host\.invalid port 1"):
        bind("no.such.host.invalid", 1)


def test_a_bound_address_refuses_until_it_is_served() -> None:
    with bind("127.0.0.1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=5)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return a self-signed certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return str(certificate), str(key)


def test_https(make_server: Make, listen: Any, certificate: tuple[str, str]) -> None:
    state = make_server(ssl_certfile=certificate[0], ssl_keyfile=certificate[1])
    check_certificate(state.config)
    host, port = listen(state)
    connection = HTTPSConnection(host, port, timeout=20, context=ssl.create_default_context(cafile=certificate[0]))
    connection.request("POST", "/v1/embeddings", BODY, HEADERS)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_certificate_that_cannot_be_used_is_told_at_once(certificate: tuple[str, str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no key")
    for files in ((certificate[0], str(wrong)), (certificate[0], str(tmp_path / "none")), (str(wrong), None)):
        with pytest.raises(InputError, match=r"the certificate of .* cannot be used"):
            check_certificate(ServerConfig(ssl_certfile=files[0], ssl_keyfile=files[1]))
    check_certificate(ServerConfig())


class Running:
    """A server in a thread, whose end a test watches."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self.listener = bind("127.0.0.1", 0)
        self.address = self.listener.getsockname()[:2]
        self.server: uvicorn.Server = DrainingServer(uvicorn_config(state), state)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()
        self.until(lambda: self.server.started)

    def until(self, holds: Callable[[], Any]) -> None:
        end = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.005)

    def ask(self, method: str = "POST", path: str = "/v1/embeddings") -> tuple[int, str | None]:
        connection = HTTPConnection(*self.address, timeout=20)
        connection.request(method, path, BODY if method == "POST" else None, HEADERS)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.headers["connection"]

    def ask_in_thread(self) -> tuple[threading.Thread, list[Any]]:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(self.ask()))
        thread.start()
        return thread, found


def test_a_signal_lets_accepted_requests_finish_and_refuses_others(make_server: Make) -> None:
    running = Running(make_server())
    graph = running.state.models.models[0].graph  # type: ignore[attr-defined]
    graph.open.clear()
    thread, found = running.ask_in_thread()
    running.until(lambda: running.state.active == 1)
    idle = HTTPConnection(*running.address, timeout=20)
    idle.connect()
    running.server.handle_exit(15, None)
    # It goes on listening: who comes now is told, rather than left with a broken connection.
    assert running.ask() == (503, "close")
    assert running.ask("GET", "/ready") == (503, "close")
    assert running.ask("GET", "/health") == (200, "close")
    time.sleep(0.3)
    assert running.thread.is_alive()
    graph.open.set()
    thread.join(20)
    running.thread.join(20)
    assert found == [(200, "close")]
    assert not running.thread.is_alive()
    assert running.server.unanswered == 0  # type: ignore[attr-defined]
    assert idle.sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        running.ask()


@pytest.mark.parametrize("how", ["time", "second signal"])
def test_what_is_stuck_is_given_up(make_server: Make, how: str) -> None:
    running = Running(make_server(drain_timeout=0.1 if how == "time" else 30))
    graph = running.state.models.models[0].graph  # type: ignore[attr-defined]
    graph.open.clear()
    thread, found = running.ask_in_thread()
    running.until(lambda: running.state.active == 1)
    running.server.handle_exit(15, None)
    if how == "second signal":
        running.server.handle_exit(2, None)
    thread.join(20)
    running.thread.join(20)
    assert not running.thread.is_alive()
    assert found == [(503, "close")]
    assert running.server.unanswered == 1  # type: ignore[attr-defined]
    graph.open.set()


def test_uvicorn_is_told_of_proxies_and_no_websockets(make_server: Make) -> None:
    config = uvicorn_config(make_server(read_timeout=3.0))
    assert config.timeout_keep_alive > 60
    assert config.ws == "none"
    assert config.http.read_timeout == 3.0  # type: ignore[union-attr]


def test_serving_ends_with_an_error_where_something_was_not_answered(
    make_server: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(serving, "_end_soon", ended.append)
    monkeypatch.setattr(serving, "_LAST_SECONDS", 0.05)

    def serve_until(unanswered: int) -> None:
        def run(self: Any, sockets: Any) -> None:
            self.unanswered = unanswered

        monkeypatch.setattr(DrainingServer, "run", run)
        serving.serve(make_server(), socket.socket())

    serve_until(0)
    assert ended == []
    with pytest.raises(Exception, match=r"stopped after 30 s \(drain_timeout\): 2 accepted requests were answered 503"):
        serve_until(2)
    assert ended == []  # its threads had ended all the same
