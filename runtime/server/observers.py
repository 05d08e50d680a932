"""Who is told of a finished request: logs, metrics, traces; and the timing headers that clients see."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from ..scheduling.call import Timings
from .exchange import Exchange
from .route import Route


@dataclass(frozen=True)
class Finished:
    """One answered request.

    Attributes:
        request: as it came.
        route: what answered it; ``None`` where no route has its path and method.
        status: of the answer.
        exchange: id, model, counts.
        timings: seconds by part.
        error: what became the answer, if it failed.
        ended: when the answer was ready, in seconds since 1970.
    """

    request: Request
    route: Route | None
    status: int
    exchange: Exchange
    timings: Timings
    error: Exception | None = None
    ended: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        """The route's first path, never what the client wrote."""
        return self.route.paths[0] if self.route else "unmatched"

    @property
    def computes(self) -> bool:
        """Whether the route runs a model."""
        return self.route is not None and self.route.computes

    @property
    def model(self) -> str:
        """The served name, never what the client wrote; empty where it did not get as far as a model."""
        return self.exchange.served.name if self.exchange.served else ""


class Observers:
    """Tells every observer of every request."""

    def __init__(self, observers: Sequence[Callable[[Finished], object]] = ()) -> None:
        """Take the observers; they run on the event loop, so they have to be quick."""
        self._observers = tuple(observers)

    def headers(self, finished: Finished) -> Mapping[str, str]:
        """Where the time went: ``Server-Timing`` and, of an answer with results, TEI's headers."""
        if not finished.computes:
            return {}
        headers = {"server-timing": _server_timing(finished.timings)}
        return headers | _tei_headers(finished) if finished.status < 300 else headers

    def done(self, finished: Finished) -> None:
        """Tell them; one that fails is logged and keeps nobody else from being told."""
        for observer in self._observers:
            try:
                observer(finished)
            except Exception:
                logging.getLogger("pool_export.server").exception("observing %s failed", finished.exchange.request_id)


def _server_timing(times: Timings) -> str:
    """Milliseconds by part (W3C Server Timing), which browsers and tracing proxies read."""
    return ", ".join(f"{name};dur={1000 * value:.2f}" for name, value in vars(times).items())


def _tei_headers(finished: Finished) -> dict[str, str]:
    """TEI's headers, in its whole milliseconds (huggingface/text-embeddings-inference, ``router/src/lib.rs``).

    TEI always says ``gpu+optimized`` for the type; here it is the device. Its ``x-compute-characters`` is left out:
    nothing here counts characters. ``x-truncated`` is ours: how many texts lost tokens.
    """
    times, call, served = finished.timings, finished.exchange.call, finished.exchange.served
    headers = {
        "x-compute-time": _ms(times.total),
        "x-compute-tokens": str(call.prompt_tokens),
        "x-total-time": _ms(times.total),
        "x-tokenization-time": _ms(times.tokenize),
        "x-queue-time": _ms(times.queue),
        "x-inference-time": _ms(times.forward),
    }
    if served is not None:
        headers["x-compute-type"] = served.engine.session.device
    if call.truncated:
        headers["x-truncated"] = str(call.truncated)
    return headers


def _ms(seconds: float) -> str:
    return str(int(1000 * seconds))
