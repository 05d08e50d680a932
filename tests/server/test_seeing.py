"""A live server is seen: in its log, in /metrics, in its headers and by a collector of traces."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

SECRET = "Zebrafinken-in-Porzellan"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def logged(live: Any, request_id: str) -> str:
    """Return the line of a request; it is written just after its answer."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = [line for line in live.log.read_text("utf-8").splitlines() if request_id in line]
        if found:
            return found[0]
        time.sleep(0.01)
    pytest.fail(f"{request_id} is not in the log")


def counted(live: Any, name: str, **labels: str) -> float:
    """Return a sample of /metrics; 0 where there is none yet."""
    text = httpx.get(f"{live.url}/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


def embed(live: Any, request_id: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{live.url}/v1/embeddings", json=body, headers={"x-request-id": request_id})


def test_a_request_is_in_the_log_with_its_id_and_without_its_text(live: Any) -> None:
    response = embed(live, "seen-1", model="minilm", input=[SECRET, "more"])
    assert response.headers["x-request-id"] == "seen-1"
    line = logged(live, "seen-1")
    assert " INFO    POST /v1/embeddings 200 " in line
    tokens = response.json()["usage"]["prompt_tokens"]
    for field in ("client=127.0.0.1", "model=minilm", "rows=2", f"tokens={tokens}", "truncated=0", "forward_ms="):
        assert f" {field}" in line


def test_a_proxy_on_this_machine_names_the_client(live: Any) -> None:
    headers = {"x-forwarded-for": "203.0.113.9", "x-request-id": "proxied-1"}
    httpx.post(f"{live.url}/v1/embeddings", json={"input": "x"}, headers=headers)
    assert " client=203.0.113.9 " in logged(live, "proxied-1")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"input": [{"text": SECRET}]}, 400),
        ({"input": SECRET, "model": "minilm", "encoding_format": SECRET}, 400),
        ({"input": SECRET, "model": "minilm", "dimensions": 7}, 400),
        ({"input": SECRET * 200, "model": "minilm"}, 400),
        ({"input": [SECRET] * 5000, "model": "minilm"}, 422),
    ],
    ids=["no text", "bad choice", "bad dimensions", "too long", "too many"],
)
def test_a_refusal_is_in_the_log_without_the_text(live: Any, body: Any, status: int) -> None:
    request_id = f"refused-{len(str(body))}"
    assert embed(live, request_id, **body).status_code == status
    assert f" POST /v1/embeddings {status} " in logged(live, request_id)
    assert SECRET not in live.log.read_text("utf-8")


def test_a_request_is_counted(live: Any) -> None:
    labels = {"route": "/v1/embeddings", "model": "minilm"}
    names = ("pool_export_requests_total", "pool_export_request_seconds_count", "pool_export_truncated_texts_total",
             "pool_export_request_tokens_sum", "pool_export_batch_rows_sum")  # fmt: skip
    wanted = ({**labels, "status": "200"}, labels, *[{"model": "minilm"}] * 3)
    before = [counted(live, name, **labels) for name, labels in zip(names, wanted, strict=True)]
    embed(live, "counted-1", model="minilm", input=["one two three", "four"], truncate_prompt_tokens=4)
    logged(live, "counted-1")
    after = [counted(live, name, **labels) for name, labels in zip(names, wanted, strict=True)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 1, 4 + 3, 2]


def test_no_label_is_the_clients(live: Any) -> None:
    httpx.get(f"{live.url}/{SECRET}", headers={"x-request-id": "lost-1"})
    embed(live, "lost-2", model=SECRET, input="x")
    logged(live, "lost-1"), logged(live, "lost-2")
    assert counted(live, "pool_export_requests_total", route="unmatched", status="404", model="") >= 1
    assert counted(live, "pool_export_requests_total", route="/v1/embeddings", status="404", model="") >= 1
    assert counted(live, "pool_export_rejected_requests_total", reason="model_not_found") >= 1
    assert SECRET not in httpx.get(f"{live.url}/metrics").text


def test_the_server_shows_what_it_serves(live: Any, served_bundles: dict[str, Path]) -> None:
    for name in served_bundles:
        assert counted(live, "pool_export_model_info", model=name, device="cpu", precision="fp32") == 1
    assert counted(live, "pool_export_ready") == 1
    assert counted(live, "process_resident_memory_bytes") > 1e6
    assert "serving a model  model=minilm tasks=embed,score" in live.log.read_text("utf-8")


def test_an_answer_says_where_its_time_went(live: Any) -> None:
    headers = embed(live, "timed-1", model="minilm", input=["one two three", "four"], truncate_prompt_tokens=4).headers
    parts = dict(part.split(";dur=") for part in headers["server-timing"].split(", "))
    seconds = {name: float(value) for name, value in parts.items()}
    assert list(seconds) == ["read", "decode", "tokenize", "queue", "forward", "encode", "total"]
    assert seconds["forward"] > 0
    total = seconds.pop("total")
    assert sum(seconds.values()) <= total + 0.1  # rounded, each to 0.01 ms
    assert (headers["x-compute-type"], headers["x-compute-tokens"], headers["x-truncated"]) == ("cpu", "7", "1")
    assert headers["x-total-time"] == str(int(total)) or abs(int(headers["x-total-time"]) - total) < 1.01


# ------------------------------------------------------------------------------------ a server of its own


class Collector(HTTPServer):
    """Takes what is posted, on loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.received: list[tuple[str, bytes]] = []


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def test_json_logs_and_traces_from_start_to_end(
    start_server: Callable[..., Any], minilm_bundle: Path, collector: Collector
) -> None:
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    server = start_server(
        f"minilm={minilm_bundle}", options=("--log-format", "json", "--otlp-endpoint", endpoint, "--threads", "1")
    )
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": "json-1"}
    httpx.post(f"{server.url}/v1/embeddings", json={"input": SECRET}, headers=headers)
    httpx.get(f"{server.url}/health")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.read_text("utf-8").splitlines()]
    messages = [line["message"] for line in lines]
    assert messages == [
        f"loading {minilm_bundle} …",
        "serving a model",
        "limits",
        f"serving on {server.url} (1 model)",
        "POST /v1/embeddings 200",
        "stopping: 0 requests are being answered",
        "stopped",
    ]
    assert (lines[4]["request_id"], lines[4]["model"], lines[4]["rows"]) == ("json-1", "minilm", 1)
    assert SECRET not in str(lines)
    assert {path for path, _ in collector.received} == {"/v1/traces"}
    delivered = b"".join(body for _, body in collector.received)
    assert bytes.fromhex(TRACE) in delivered
    assert b"tokenize" in delivered
    assert SECRET.encode() not in delivered


def test_a_failed_start_is_a_line_of_json_too(collector: Collector) -> None:
    taken = str(collector.server_port)
    command = [sys.executable, "-m", "pool_export", "serve", "bundle", "--port", taken, "--log-format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["level"], line["error_type"]) == ("critical", "InputError")
    assert line["message"].startswith(f"cannot listen on 127.0.0.1 port {taken}: ")


def read_until(terminal: int, word: bytes) -> bytes:
    """Read what is shown, until it has a word or the program has ended (which is EIO on a terminal)."""
    shown = b""
    with contextlib.suppress(OSError):
        while word not in shown and (data := os.read(terminal, 4096)):
            shown += data
    return shown


def test_a_terminal_shows_a_table_and_then_the_log(minilm_bundle: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pool_export", "serve", f"minilm={minilm_bundle}", "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stderr=theirs, env={**os.environ, "TERM": "dumb"}) as process:
        os.close(theirs)
        shown = read_until(ours, b"(1 model)").decode()
        process.send_signal(signal.SIGTERM)
        shown += read_until(ours, b"never").decode()
    os.close(ours)
    assert process.returncode == 0
    loading, heads, model, limits, where, *log = shown.splitlines()
    assert loading == f"loading {minilm_bundle} …"
    assert heads.split()[:3] == ["model", "tasks", "device"]
    assert model.split()[:2] == ["minilm", "embed,"]
    assert limits.startswith("limits: max_concurrent_requests 256, ")
    assert where.startswith("serving on http://127.0.0.1:")
    assert [" INFO    stopp" in line for line in log] == [True, True]
