"""Connections of slow and wrong clients, on real sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest

from pool_export.runtime.server import protocol
from pool_export.runtime.server.dispatch import ServerState

Make = Callable[..., ServerState]
Listen = Callable[[ServerState], tuple[str, int]]
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
BODY = b'{"input": "one two"}'
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def talk(address: tuple[str, int], *parts: bytes) -> bytes:
    """Send parts; return all that comes until the server closes."""
    with closing(socket.create_connection(address, timeout=20)) as connection:
        for part in parts:
            connection.sendall(part)
        return rest(connection)


def rest(connection: socket.socket) -> bytes:
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def error_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert f"content-length: {len(body)}".encode() in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]["message"]


def eventually(value: Callable[[], int], expected: int) -> bool:
    end = time.monotonic() + 20
    while value() != expected and time.monotonic() < end:
        time.sleep(0.005)
    return value() == expected


@pytest.fixture
def address(make_server: Make, listen: Listen) -> tuple[str, int]:
    """Return where a server listens whose patience is short."""
    return listen(make_server(read_timeout=0.15, max_body=100_000))


def test_a_connection_that_says_nothing_is_closed(address: Any) -> None:
    assert talk(address) == b""


def test_an_unfinished_head_is_a_408(address: Any) -> None:
    for part in (b"G", b"GET /health HTTP/1.1\r\nHost: here\r\n", b"\r\n"):
        status, message = error_of(talk(address, part))
        assert (status, message) == (
            408,
            f"request line and headers were not sent within 0.15 s (read_timeout); {len(part)} bytes came",
        )


def test_bytes_that_trickle_do_not_extend_the_time(address: Any) -> None:
    with closing(socket.create_connection(address, timeout=20)) as connection:
        connection.settimeout(0.02)
        sent, answer = 0, b""
        while not answer:
            connection.sendall(b"a" if sent else b"GET /")
            sent += 1
            assert sent < 500
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_an_unfinished_body_is_a_408(address: Any) -> None:
    answer = talk(address, HEAD + b"Content-Length: 70000\r\n\r\n" + BODY)
    status, message = error_of(answer)
    assert (status, message) == (408, "the body was not sent within 0.15 s (read_timeout); 20 bytes came")


def test_a_head_of_any_size_is_not_taken(address: Any) -> None:
    filler = b"X-Filler: " + b"a" * 1000 + b"\r\n"
    allowed = talk(address, b"GET /version HTTP/1.1\r\nConnection: close\r\n" + filler * 60 + b"\r\n")
    assert allowed.startswith(b"HTTP/1.1 200 ")
    for too_large in (filler * 70, b"X-One: " + b"a" * 100_000):
        status, message = error_of(talk(address, b"GET /version HTTP/1.1\r\n" + too_large))
        assert (status, message) == (431, "request line and headers are longer than the limit of 65536 bytes")


NO_HTTP = (
    b"no HTTP at all\r\n\r\n",
    b"GET /version HTTP/9.9\r\n\r\n",
    b"GET /version HTTP/1.1\r\nBroken\r\n\r\n",
    HEAD + b"Content-Length: -5\r\n\r\n",
    HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS greeting
)


def test_what_is_no_http_is_a_400_in_the_usual_shape(address: Any) -> None:
    for data in NO_HTTP:
        found = error_of(talk(address, data))
        assert found == (400, "Invalid HTTP request received: expected HTTP/1.1 with valid headers"), data


def test_a_body_above_the_limit_is_not_read_to_its_end(address: Any) -> None:
    with closing(socket.create_connection(address, timeout=20)) as connection:
        connection.sendall(HEAD + b"Content-Length: 50000000\r\n\r\n" + b"a" * 1000)
        status, message = error_of(rest(connection))  # the end came, with 50 MB never sent
    assert (status, message) == (
        413,
        "the request body has 50000000 bytes, the limit is 100000 (max_body); send several requests",
    )
    chunk = b"%x\r\n" % 60_000 + b"a" * 60_000 + b"\r\n"
    assert error_of(talk(address, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk))[0] == 413


def test_many_big_uploads_do_not_fill_the_memory(make_server: Make, listen: Listen) -> None:
    state = make_server(read_timeout=20.0, max_body=100_000, max_bodies=280_000)
    address = listen(state)
    with ExitStack() as stack:
        uploads = [stack.enter_context(closing(socket.create_connection(address, timeout=20))) for _ in range(4)]
        for number, upload in enumerate(uploads):
            upload.sendall(HEAD + b"Content-Length: 90001\r\n\r\n" + b" " * 80_000)
            assert number == 3 or eventually(lambda: state.bodies.held // 80_000, number + 1)
        status, message = error_of(rest(uploads[3]))
        assert status == 429
        assert message.endswith("the limit is 280000 (max_bodies); try again later")
        body = b" " * (10_001 - len(BODY)) + BODY
        for upload in uploads[:3]:
            upload.sendall(body)
            assert upload.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert state.bodies.held == 0


def test_the_rest_of_a_refused_body_is_not_awaited_for_ever(make_server: Make, listen: Listen) -> None:
    address = listen(make_server(read_timeout=0.15, api_key="alpha"))
    with closing(socket.create_connection(address, timeout=20)) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(b"a")  # a keep-alive connection whose client never ends its body
        assert rest(connection) == b""


def test_a_connection_serves_many_requests_and_pauses(address: Any) -> None:
    with closing(socket.create_connection(address, timeout=20)) as connection:
        for pause in (0.0, 0.3, 0.0):
            time.sleep(pause)  # longer than read_timeout: a pause between requests is no slow head
            connection.sendall(REQUEST[:30])
            connection.sendall(REQUEST[30:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(address: Any) -> None:
    last = b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n"
    answer = talk(address, REQUEST + b"GET /v1/models HTTP/1.1\r\n\r\n" + last)
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert answer.index(b'"embedding"') < answer.index(b'"max_model_len"') < answer.index(b'"onnxruntime"')


def test_an_upgrade_to_a_websocket_is_not_offered(address: Any) -> None:
    answer = talk(
        address,
        b"GET /v1/models HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    assert b"101 Switching" not in answer


def test_a_client_that_does_not_read_holds_no_worker_and_is_cut_off(
    make_server: Make, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make_server(read_timeout=0.15, max_inputs=100_000, max_concurrent_requests=1)
    address = listen(state)
    monkeypatch.setattr(protocol, "MIN_READ", 10**9)
    body = json.dumps({"input": ["one"] * 4000}).encode()
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(address)
        slow.settimeout(20)
        slow.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        start = slow.recv(100)
        assert start.startswith(b"HTTP/1.1 200 ")
        size = int(start.split(b"content-length: ")[1].split()[0])
        # The one place is free again while megabytes of the answer wait for their reader.
        assert talk(address, REQUEST.replace(b"Host", b"Connection: close\r\nHost")).startswith(b"HTTP/1.1 200 ")
        assert eventually(lambda: state.active, 0)
        time.sleep(0.5)
        assert len(rest(slow)) < size - 1000  # what the kernel held, and then the end
