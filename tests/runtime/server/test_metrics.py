from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric

from pool_export.runtime.errors import InputError, RuntimeFailure
from pool_export.runtime.scheduling.call import Cancelled, Overloaded
from pool_export.runtime.scheduling.scheduler import BatchReport
from pool_export.runtime.server.metrics import Metrics
from pool_export.runtime.server.problems import BodyTooLarge

from .seen import Served, finished

BEGIN, END = "<!-- metrics: made by `make docs` -->\n\n", "\n<!-- end -->"


def state(*models: Served, accepted: int = 0, is_stopping: bool = False) -> Any:
    return SimpleNamespace(models=SimpleNamespace(models=models), accepted=range(accepted), is_stopping=is_stopping)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"pool_export_{name}", labels)


def test_a_request_is_counted_by_declared_route_status_and_model() -> None:
    metrics = Metrics()
    metrics.observe(finished(path="/v1/embed"))
    metrics.observe(finished(path="/embed"))
    metrics.observe(finished(route=None, path="/some/text", status=404, rows=0))
    assert value(metrics, "requests_total", route="/embed", status="200", model="minilm") == 2
    assert value(metrics, "requests_total", route="unmatched", status="404", model="") == 1
    assert value(metrics, "request_seconds_sum", route="/embed", model="minilm") == pytest.approx(0.14)
    assert "some/text" not in metrics.exposition()[0].decode()


def test_the_parts_of_a_request_are_timed() -> None:
    metrics = Metrics()
    metrics.observe(finished(tokens=24, truncated=2))
    for part, seconds in (("tokenize", 0.002), ("queue", 0.01), ("forward", 0.05)):
        assert value(metrics, f"request_{part}_seconds_sum", model="minilm") == pytest.approx(seconds)
        assert value(metrics, f"request_{part}_seconds_count", model="minilm") == 1
    assert value(metrics, "request_tokens_sum", model="minilm") == 24
    assert value(metrics, "truncated_texts_total", model="minilm") == 2


def test_a_request_without_texts_has_no_parts() -> None:
    metrics = Metrics()
    metrics.observe(finished(rows=0))
    assert value(metrics, "request_queue_seconds_count", model="minilm") is None
    assert value(metrics, "request_seconds_count", route="/embed", model="minilm") == 1


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Overloaded("full", 1), 429, "overloaded"),
        (BodyTooLarge("big"), 413, "body_too_large"),
        (InputError("no"), 400, "input_error"),
        (Cancelled("gone"), 499, "cancelled"),
    ],
)
def test_a_refusal_is_counted_by_reason(error: Exception, status: int, reason: str) -> None:
    metrics = Metrics()
    assert value(metrics, "rejected_requests_total", reason=reason) == 0
    metrics.observe(finished(status=status, error=error))
    assert value(metrics, "rejected_requests_total", reason=reason) == 1


def test_a_failure_of_ours_is_no_refusal() -> None:
    metrics = Metrics()
    metrics.observe(finished(status=500, error=RuntimeFailure("boom")))
    metrics.observe(finished(status=500, error=KeyError("boom")))
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    assert not any(sample.value for sample in samples if sample.name == "pool_export_rejected_requests_total")
    assert value(metrics, "requests_total", route="/embed", status="500", model="") == 2


def test_forward_passes_are_counted() -> None:
    metrics = Metrics()
    observe = metrics.batches("minilm")
    observe(BatchReport(rows=4, tokens=60, padded=80, seconds=0.25, calls=3))
    observe(BatchReport(rows=1, tokens=20, padded=20, seconds=0.25, calls=1, failed=True))
    assert value(metrics, "batch_rows_sum", model="minilm") == 5
    assert value(metrics, "batch_requests_sum", model="minilm") == 4
    assert value(metrics, "batch_forward_seconds_sum", model="minilm") == 0.5
    assert value(metrics, "batch_fill_ratio_sum", model="minilm") == 1.75
    assert value(metrics, "batch_fill_ratio_bucket", model="minilm", le="0.8") == 1
    assert value(metrics, "batch_tokens_total", model="minilm") == 80
    assert value(metrics, "batch_padded_tokens_total", model="minilm") == 100
    assert value(metrics, "forward_failures_total", model="minilm") == 1


def test_the_state_is_read_when_it_is_asked_for() -> None:
    metrics, busy = Metrics(), Served("busy", queued_tokens=70, queued_rows=2)
    server = state(Served(), busy, accepted=3)
    metrics.watch(server)
    assert value(metrics, "requests_in_flight") == 3
    assert value(metrics, "queue_tokens", model="busy") == 70
    assert value(metrics, "queue_rows", model="busy") == 2
    assert value(metrics, "queue_rows", model="minilm") == 0
    assert value(metrics, "ready") == 1
    busy.scheduler.is_healthy = False
    assert value(metrics, "ready") == 0
    busy.scheduler.is_healthy, server.is_stopping = True, True
    assert value(metrics, "ready") == 0


def test_two_servers_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.observe(finished())
    assert value(other, "requests_total", route="/embed", status="200", model="minilm") is None


def test_the_text_is_prometheus() -> None:
    metrics = Metrics()
    metrics.watch(state(Served('quo"ted')))
    data, media_type = metrics.exposition()
    assert media_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b'pool_export_model_info{device="cpu",model="quo\\"ted",precision="fp32",version="' in data
    assert b"\nprocess_resident_memory_bytes " in data


# ------------------------------------------------------------------------------------------- the table


def everything() -> list[Metric]:
    """Return all metrics of a server that has seen everything."""
    metrics = Metrics()
    metrics.watch(state(Served()))
    metrics.observe(finished(truncated=1))
    metrics.observe(finished(status=429, error=Overloaded("full", 1)))
    metrics.batches("minilm")(BatchReport(1, 1, 1, 0.1, 1))
    return [metric for metric in metrics.registry.collect() if metric.name.startswith("pool_export")]


def table() -> str:
    suffix = {"counter": "_total", "info": "_info"}
    lines = ["| name | type | labels | what |", "|---|---|---|---|"]
    for metric in everything():
        labels = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
        name, words = f"`{metric.name}{suffix.get(metric.type, '')}`", ", ".join(labels)
        lines.append(f"| {name} | {metric.type} | {words} | {metric.documentation} |")
    return "\n".join(lines) + "\n"


def test_the_page_lists_every_metric(checkout: Path, request: pytest.FixtureRequest) -> None:
    file = checkout / "docs" / "metrics.md"
    text = file.read_text("utf-8")
    before, rest = text.split(BEGIN)
    found, after = rest.split(END)
    if request.config.getoption("--update-help"):
        file.write_text(before + BEGIN + table() + END + after, "utf-8")
        return
    assert found == table(), "docs/metrics.md is stale; run `make docs`"
