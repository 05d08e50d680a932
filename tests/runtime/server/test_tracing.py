from __future__ import annotations

import builtins
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from pool_export.runtime.errors import InputError, MissingExtraError, RuntimeFailure
from pool_export.runtime.scheduling.call import Timings
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.observers import Finished
from pool_export.runtime.server.tracing import Tracing, otlp_processor

from .seen import PROBE, finished

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans_of(request: Finished) -> Sequence[ReadableSpan]:
    exporter = InMemorySpanExporter()
    Tracing(SimpleSpanProcessor(exporter)).observe(request)
    return exporter.get_finished_spans()


def test_a_request_is_a_span_with_the_parts_of_its_time() -> None:
    *parts, request = spans_of(finished(truncated=1))
    assert (request.name, request.kind) == ("POST /embed", SpanKind.SERVER)
    assert request.end_time == 1_800_000_000_000_000_000
    assert request.end_time - request.start_time == 70_000_000
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/embed",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/v1/embed",
        "client.address": "10.0.0.7",
        "gen_ai.response.model": "minilm",
        "gen_ai.usage.input_tokens": 24,
        "pool_export.request_id": "request-1",
        "pool_export.rows": 3,
        "pool_export.truncated": 1,
    }
    # `read` and `decode` took 1 ms and less.
    named = [(part.name, round((part.end_time - part.start_time) / 1e6, 3)) for part in parts]
    assert named == [("tokenize", 2), ("queue", 10), ("forward", 50), ("encode", 3)]
    assert parts[0].start_time == request.start_time + 1_500_000
    for part, following in pairwise(parts):
        assert part.end_time == following.start_time
    assert {part.parent.span_id for part in parts if part.parent} == {request.context.span_id}


def test_parts_never_outlast_their_request() -> None:
    request = replace(finished(), timings=Timings(tokenize=0.06, queue=0.06, forward=0.06, total=0.1))
    *parts, whole = spans_of(request)
    assert all(part.end_time <= whole.end_time for part in parts)
    assert [part.name for part in parts] == ["tokenize", "queue", "forward"]


def test_the_clients_trace_goes_on() -> None:
    request = spans_of(finished(headers={"traceparent": PARENT}))[-1]
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]


def test_a_client_that_is_not_sampled_makes_no_spans() -> None:
    assert spans_of(finished(headers={"traceparent": PARENT[:-1] + "0"})) == ()


@pytest.mark.parametrize("broken", ["", "00-zz", "ff" * 300])
def test_a_broken_parent_begins_a_new_trace(broken: str) -> None:
    assert spans_of(finished(headers={"traceparent": broken}))[-1].parent is None


def test_only_our_failures_are_errors() -> None:
    ours = spans_of(finished(status=500, error=RuntimeFailure("boom")))[-1]
    theirs = spans_of(finished(status=400, error=InputError("SECRET")))[-1]
    assert (ours.status.status_code, theirs.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert dict(ours.attributes or {})["error.type"] == "RuntimeFailure"
    assert dict(theirs.attributes or {})["error.type"] == "InputError"
    assert "SECRET" not in theirs.to_json()


def test_what_computes_nothing_is_one_span() -> None:
    (request,) = spans_of(finished(route=PROBE, path="/health", rows=0, tokens=0))
    assert request.name == "GET /health"
    assert "pool_export.rows" not in (request.attributes or {})


def test_an_unknown_path_names_no_route() -> None:
    (request,) = spans_of(finished(route=None, path="/nothing", status=404, rows=0))
    assert request.name == "GET"
    assert "http.route" not in (request.attributes or {})


def test_the_service_is_named_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spans_of(finished())[-1].resource.attributes["service.name"] == "pool-export"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "search")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    resource = spans_of(finished())[-1].resource.attributes
    assert (resource["service.name"], resource["deployment.environment"]) == ("search", "test")


# ------------------------------------------------------------------------------------------- delivery


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP on loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.received: list[tuple[str, ExportTraceServiceRequest]] = []


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
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


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_a_collector_receives_otlp(collector: Collector, path: str) -> None:
    tracing = Tracing(otlp_processor(f"http://127.0.0.1:{collector.server_port}{path}"))
    tracing.observe(finished())
    tracing.close()
    ((where, message),) = collector.received
    assert where == "/v1/traces"
    (resource,) = message.resource_spans
    names = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert names == ["tokenize", "queue", "forward", "encode", "POST /embed"]
    assert "pool-export" in {
        item.value.string_value for item in resource.resource.attributes if item.key == "service.name"
    }


def test_a_collector_that_is_away_costs_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pool_export.runtime.server.tracing._DELIVERY", 0.1)
    with Collector() as gone:
        port = gone.server_port
    tracing = Tracing(otlp_processor(f"http://127.0.0.1:{port}"))
    tracing.observe(finished())
    tracing.close()
    assert "Failed to export spans batch" in caplog.text


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, globals: Mapping[str, Any] | None = None, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, globals, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'pool-export\[otel\]'"):
        otlp_processor("http://127.0.0.1:4318")


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://host:4317", "http://", ""])
def test_an_endpoint_is_a_url(endpoint: str) -> None:
    with pytest.raises(InputError, match="otlp_endpoint must be a URL such as http://host:4318"):
        ServerConfig(otlp_endpoint=endpoint)
