"""The ASGI application: routes over loaded models. Runs under any ASGI server; ``serving.py`` has ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from .assets import page_routes
from .auth import KeyCheck
from .config import ServerConfig
from .dispatch import Endpoint, ServerState, new_exchange
from .logs import log_request
from .metrics import Metrics
from .models import Registry
from .observers import Finished, Observers
from .reading import BodyBudget
from .routes import ROUTES


def make_state(
    models: Registry,
    config: ServerConfig,
    observers: Sequence[Callable[[Finished], object]] = (),
    metrics: Metrics | None = None,
) -> ServerState:
    """Gather what all requests share.

    Args:
        models: what is served.
        config: limits and keys.
        observers: are told of every request, beside the log and the metrics.
        metrics: what the models' schedulers count into.

    Raises:
        InputError: a key file that cannot be read.
    """
    metrics = metrics or Metrics()
    state = ServerState(
        models=models,
        config=config,
        check_key=KeyCheck(config.keys()),
        observers=Observers((log_request, metrics.observe, *observers)),
        metrics=metrics,
        # A worker waits while its texts are in a batch, so there is one for every request that may be in the server.
        workers=ThreadPoolExecutor(config.max_concurrent_requests, thread_name_prefix="pool-export-request"),
        bodies=BodyBudget(config.max_bodies),
        attendants=ThreadPoolExecutor(2, thread_name_prefix="pool-export-attendant"),
    )
    metrics.watch(state)
    return state


def make_app(state: ServerState) -> Starlette:
    """Build the application."""
    routes = [
        StarletteRoute(path, Endpoint(route, state), methods=[route.method]) for route in ROUTES for path in route.paths
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: partial(_no_route, state)})
    app = Starlette(routes=[*routes, *page_routes()], exception_handlers={HTTPException: _no_route})
    app.state.server = state
    return app


async def _no_route(state: ServerState, request: Request, error: Exception) -> Response:
    """The router's own 404 and 405: vLLM's ``detail``, and the sentence where OpenAI's clients look for it."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    known = sorted({path for route in ROUTES for path in route.paths})
    message = (
        f"{request.method} {request.url.path} is not a route of this server; it has {', '.join(known)}"
        if status == 404
        else f"{request.url.path} does not answer {request.method}"
    )
    fields = {"message": message, "type": "NotFoundError", "param": None, "code": status}
    headers = error.headers if isinstance(error, HTTPException) else None
    exchange = new_exchange(request, state)
    state.observers.done(Finished(request, None, status, exchange, exchange.call.finish()))
    response = JSONResponse({"detail": getattr(error, "detail", ""), "error": fields}, status, headers=headers)
    response.headers["x-request-id"] = exchange.request_id
    return response
