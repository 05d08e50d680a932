"""Routes called in the test's own process: the handler, the decoded body, a scheduler; no HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from pool_export.runtime.llm import LLM
from pool_export.runtime.scheduling.call import Call
from pool_export.runtime.scheduling.scheduler import QueueLimits, Scheduler
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.exchange import Exchange
from pool_export.runtime.server.models import Registry, Served
from pool_export.runtime.server.reading import decode
from pool_export.runtime.server.routes import ROUTES


@pytest.fixture
def ask() -> Iterator[Callable[..., Any]]:
    """Return `ask(path, body, models={name: LLM}, **server_options)`: what the route answers, as JSON."""
    schedulers: list[Scheduler] = []

    def call(path: str, body: Any, models: Mapping[str, LLM], **options: Any) -> Any:
        (route,) = [route for route in ROUTES if path in route.paths and (route.method == "GET") == (body is None)]
        served = [
            Served(name, llm.engine, Scheduler(llm.engine, QueueLimits(window=0))) for name, llm in models.items()
        ]
        schedulers.extend(model.scheduler for model in served)
        exchange = Exchange(Registry(served), ServerConfig(**options), "rid", Call())
        shape = None if body is None else decode(json.dumps(body).encode(), route.body)
        return json.loads(route.handle(exchange, shape).body)

    yield call
    for scheduler in schedulers:
        scheduler.close()
