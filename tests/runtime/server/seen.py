"""A finished request, made by hand: what logs, metrics, traces and headers are told of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from starlette.requests import Request

from pool_export.runtime.scheduling.call import Call, Timings
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.exchange import Exchange, Reply
from pool_export.runtime.server.models import Registry
from pool_export.runtime.server.observers import Finished
from pool_export.runtime.server.route import Route

ROUTE = Route(paths=("/embed", "/v1/embed"), handle=lambda exchange, body: Reply(b""), summary="", tag="")
PROBE = Route(
    paths=("/health",), handle=lambda exchange, body: Reply(b""), summary="", tag="", method="GET", computes=False
)
TIMES = Timings(read=0.001, decode=0.0005, tokenize=0.002, queue=0.01, forward=0.05, encode=0.003, total=0.07)


class Served(SimpleNamespace):
    """As much of a served model as is seen."""

    __hash__ = object.__hash__

    def __init__(self, name: str = "minilm", **scheduler: Any) -> None:
        session = SimpleNamespace(device="cpu", precision="fp32", threads=2)
        tokenizer = SimpleNamespace(max_length=256)
        queue = SimpleNamespace(**{"is_healthy": True, "queued_tokens": 0, "queued_rows": 0, **scheduler})
        super().__init__(
            name=name,
            engine=SimpleNamespace(session=session, tokenizer=tokenizer, max_tokens=8192),
            spec=SimpleNamespace(tasks=("embed", "score")),
            scheduler=queue,
        )


def finished(
    *,
    status: int = 200,
    error: Exception | None = None,
    route: Route | None = ROUTE,
    path: str = "/v1/embed",
    served: Any = None,
    rows: int = 3,
    tokens: int = 24,
    truncated: int = 0,
    headers: dict[str, str] | None = None,
) -> Finished:
    """Return one; where a route answered without an error it is for the model `minilm`."""
    call = Call(60)
    call.rows, call.prompt_tokens, call.truncated = rows, tokens, truncated
    found: Any = served or (None if error or route is None else Served())
    exchange = Exchange(Registry([Served()]), ServerConfig(), "request-1", call, headers=headers or {}, served=found)
    scope = {
        "type": "http",
        "method": route.method if route else "GET",
        "path": path,
        "query_string": b"q=SECRET",
        "scheme": "http",
        "client": ("10.0.0.7", 5000),
        "headers": [],
    }
    return Finished(Request(scope), route, status, exchange, TIMES, error, ended=1_800_000_000.0)
