"""Traces of requests for OpenTelemetry: a span a request, with a span for each part of its time. Extra ``otel``."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError
from .observers import Finished

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanProcessor

# Seconds that one delivery may take, and that the end of the server waits for the last.
_DELIVERY = 5.0
_LAST_DELIVERY = 5.0
# Parts of a request in their order, and the seconds from which they are worth a span (each costs 50 µs).
_PARTS = {"read": 1e-3, "decode": 1e-3, "tokenize": 0.0, "queue": 0.0, "forward": 0.0, "encode": 1e-3}


def otlp_processor(endpoint: str) -> SpanProcessor:
    """What delivers spans to a collector, in a thread of its own; a collector that is away loses spans, nothing else.

    Args:
        endpoint: its URL; ``/v1/traces`` is added unless it is there, as with ``OTEL_EXPORTER_OTLP_ENDPOINT``.

    Raises:
        MissingExtraError: the ``otel`` extra is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtraError("opentelemetry", "otel", "--otlp-endpoint sends traces") from error
    base = endpoint.rstrip("/")
    url = base if base.endswith("/v1/traces") else f"{base}/v1/traces"
    return BatchSpanProcessor(OTLPSpanExporter(url, timeout=_DELIVERY))


class Tracing:
    """Makes spans of finished requests, from their timings. An observer.

    The client's ``traceparent`` (W3C Trace Context) is the parent, and its decision to sample is kept. The usual
    variables hold: ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_*``.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        """Send spans to a processor (``otlp_processor``)."""
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {"service.name": "pool-export", "service.version": version("pool-export")}
        resource = Resource.create().merge(Resource(named)).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("pool_export.server", version("pool-export"))
        self._parent = TraceContextTextMapPropagator().extract

    def observe(self, finished: Finished) -> None:
        """Make the spans of a request.

        Its parts stand one after another. Where a request was in several batches, each part is the sum of its
        pieces, and the spans show how long they took, not when.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.status import StatusCode

        ended = int(finished.ended * 1e9)
        began = ended - int(finished.timings.total * 1e9)
        method = finished.request.method
        span = self._tracer.start_span(
            f"{method} {finished.name}" if finished.route else method,
            self._parent(finished.exchange.headers),
            SpanKind.SERVER,
            _attributes(finished),
            start_time=began,
        )
        if finished.status >= 500:
            span.set_status(StatusCode.ERROR)
        if finished.computes and span.is_recording():
            inside, at = set_span_in_context(span), began
            for part, least in _PARTS.items():
                seconds = getattr(finished.timings, part)
                until = min(ended, at + int(seconds * 1e9))
                if seconds > least:
                    self._tracer.start_span(part, inside, start_time=at).end(until)
                at = until
        span.end(ended)

    def close(self) -> None:
        """Deliver what is left, for a few seconds at most."""
        last = threading.Thread(target=self._provider.shutdown, name="pool-export-traces", daemon=True)
        last.start()
        last.join(_LAST_DELIVERY)


def _attributes(finished: Finished) -> Mapping[str, Any]:
    """OpenTelemetry's semantic conventions for HTTP servers and for generative AI; the rest under our own name."""
    exchange, scope = finished.exchange, finished.request.scope
    client = scope.get("client")
    attributes = {
        "http.request.method": scope["method"],
        "http.route": finished.name if finished.route else None,
        "http.response.status_code": finished.status,
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "client.address": client[0] if client else None,
        "error.type": type(finished.error).__name__ if finished.error else None,
        "gen_ai.response.model": finished.model or None,
        "gen_ai.usage.input_tokens": exchange.call.prompt_tokens if finished.computes else None,
        "pool_export.request_id": exchange.request_id,
        "pool_export.rows": exchange.call.rows if finished.computes else None,
        "pool_export.truncated": exchange.call.truncated if finished.computes else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}
