"""Who is told of a finished request: logs, metrics, traces; and the timing headers that clients see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..scheduling.call import Timings
from .exchange import Exchange
from .route import Route


@dataclass(frozen=True)
class Finished:
    """One answered request; ``error`` is what became its answer, if it failed."""

    route: Route
    status: int
    exchange: Exchange
    timings: Timings
    error: Exception | None = None


class Observers:
    """Tells every observer of every request."""

    def __init__(self, observers: Sequence[Callable[[Finished], object]] = ()) -> None:
        """Take the observers; they run on the event loop, so they have to be quick."""
        self._observers = tuple(observers)

    def headers(self, finished: Finished) -> Mapping[str, str]:
        """``Server-Timing`` in milliseconds (W3C), which browsers and tracing proxies read."""
        if not finished.route.computes:
            return {}
        times = finished.timings
        spans = {"tokenize": times.tokenize, "queue": times.queue, "forward": times.forward, "total": times.total}
        return {"server-timing": ", ".join(f"{name};dur={1000 * value:.2f}" for name, value in spans.items())}

    def done(self, finished: Finished) -> None:
        """Tell them."""
        for observer in self._observers:
            observer(finished)
