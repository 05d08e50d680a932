"""What Prometheus reads at ``/metrics``. Every server has a registry of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ..scheduling.scheduler import BatchReport, Observer
from .problems import TABLE

if TYPE_CHECKING:  # they hold what is here
    from .dispatch import ServerState
    from .observers import Finished

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = tuple(4**power for power in range(2, 11))  # 16 … 1,048,576
_ROWS = tuple(2**power for power in range(11))  # 1 … 1024
_FILL = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1)

# A word for every error of the table that is no failure of ours; a class stands after its special cases there.
_REASONS: tuple[tuple[type[BaseException], str], ...] = tuple(
    (kind, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower())
    for kind, problem in TABLE
    if problem.status not in (500, 501)
)


class Metrics:
    """Counts requests and forward passes. Safe from any thread.

    Labels are the server's own words: a route's declared path, a served model's name, a status, a class of error.
    """

    def __init__(self) -> None:
        """Declare everything that is counted."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter("requests", "Answered requests.", "route", "status", "model")
        self._rejected = self._counter("rejected_requests", "Requests that were not served, by reason.", "reason")
        self._seconds = self._times("request", "From a request's headers until its answer is ready.", "route", "model")
        self._parts = {
            "tokenize": self._times("request_tokenize", "Tokenization of a request's texts.", "model"),
            "queue": self._times("request_queue", "Waiting while no text of the request was in a batch.", "model"),
            "forward": self._times("request_forward", "In batches that held a text of the request.", "model"),
        }
        self._tokens = self._histogram("request_tokens", "Tokens of a request.", _TOKENS, "model")
        self._truncated = self._counter("truncated_texts", "Texts that lost tokens.", "model")
        self._batch_seconds = self._times("batch_forward", "A forward pass.", "model")
        self._batch_rows = self._histogram("batch_rows", "Texts in a forward pass.", _ROWS, "model")
        self._batch_requests = self._histogram("batch_requests", "Requests in a forward pass.", _ROWS, "model")
        self._batch_fill = self._histogram("batch_fill_ratio", "Tokens by tokens with padding.", _FILL, "model")
        self._batch_tokens = self._counter("batch_tokens", "Tokens that were run.", "model")
        self._padded_tokens = self._counter("batch_padded_tokens", "Tokens that were run, with padding.", "model")
        self._failures = self._counter("forward_failures", "Forward passes that failed.", "model")
        for _, reason in _REASONS:
            self._rejected.labels(reason)  # begins at 0, so that the first one is seen as a change

    def watch(self, state: ServerState) -> None:
        """Show the state of a server too, as it is when it is asked for."""
        self.registry.register(_State(state))

    def observe(self, finished: Finished) -> None:
        """Count a request; some 10 µs."""
        model, call = finished.model, finished.exchange.call
        self._requests.labels(finished.name, str(finished.status), model).inc()
        self._seconds.labels(finished.name, model).observe(finished.timings.total)
        if reason := next((word for kind, word in _REASONS if isinstance(finished.error, kind)), None):
            self._rejected.labels(reason).inc()
        if not call.rows:
            return
        self._parts["tokenize"].labels(model).observe(finished.timings.tokenize)
        self._parts["queue"].labels(model).observe(finished.timings.queue)
        self._parts["forward"].labels(model).observe(finished.timings.forward)
        self._tokens.labels(model).observe(call.prompt_tokens)
        if call.truncated:
            self._truncated.labels(model).inc(call.truncated)

    def batches(self, model: str) -> Observer:
        """What a model's scheduler tells of its forward passes."""
        seconds, rows = self._batch_seconds.labels(model), self._batch_rows.labels(model)
        requests, fill = self._batch_requests.labels(model), self._batch_fill.labels(model)
        tokens, padded = self._batch_tokens.labels(model), self._padded_tokens.labels(model)
        failures = self._failures.labels(model)

        def observe(report: BatchReport) -> None:
            seconds.observe(report.seconds)
            rows.observe(report.rows)
            requests.observe(report.calls)
            fill.observe(report.tokens / max(1, report.padded))
            tokens.inc(report.tokens)
            padded.inc(report.padded)
            if report.failed:
                failures.inc()

        return observe

    def exposition(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, namespace="pool_export", registry=self.registry)

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, words, labels, namespace="pool_export", buckets=buckets, registry=self.registry)

    def _times(self, name: str, words: str, *labels: str) -> Histogram:
        return self._histogram(f"{name}_seconds", words, _SECONDS, *labels)


class _State(Collector):
    """What is asked for instead of counted."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state, models = self._state, self._state.models.models
        healthy = not state.is_stopping and all(model.scheduler.is_healthy for model in models)
        yield _gauge("ready", "1 while requests are taken and the last forward passes succeeded.", healthy)
        yield _gauge("requests_in_flight", "Requests that run a model and are being answered.", len(state.accepted))
        tokens = GaugeMetricFamily("pool_export_queue_tokens", "Tokens that wait for a forward pass.", labels=["model"])
        rows = GaugeMetricFamily("pool_export_queue_rows", "Texts that wait for a forward pass.", labels=["model"])
        info = InfoMetricFamily("pool_export_model", "A served model and where it runs.", labels=["model"])
        for model in models:
            tokens.add_metric([model.name], model.scheduler.queued_tokens)
            rows.add_metric([model.name], model.scheduler.queued_rows)
            session = model.engine.session
            where = {"device": session.device, "precision": session.precision, "version": version("pool-export")}
            info.add_metric([model.name], where)
        yield from (tokens, rows, info)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"pool_export_{name}", words, value)
