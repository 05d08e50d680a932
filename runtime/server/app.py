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
    app = Starlette(routes=[*routes, *page_routes()], exception_handlers={HTTPException: partial(_no_route, state)})
    app.router.redirect_slashes = False  # a redirect names the scheme of this hop, which is not the client's
    app.state.server = state
    return app


async def _no_route(state: ServerState, request: Request, error: Exception) -> Response:
    """The router's own 404 and 405: vLLM's ``detail``, and the sentence in both of OpenAI's shapes."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(getattr(error, "headers", None) or {})
    asked = f"{request.method:.20} {request.scope['path']:.200}"
    if status == 404:
        known = ", ".join(sorted({path for route in ROUTES for path in route.paths}))
        message, kind = f"{asked} is not a route of this server; it has {known}", "NotFoundError"
    else:
        message, kind = f"{asked} is not answered; this path takes {headers.get('Allow')}", "MethodNotAllowedError"
    fields = {"message": message, "type": kind, "param": None, "code": status}
    body = {"detail": getattr(error, "detail", ""), "object": "error", **fields, "error": fields}
    exchange = new_exchange(request, state)
    state.observers.done(Finished(request, None, status, exchange, exchange.call.finish()))
    headers["x-request-id"] = exchange.request_id
    return JSONResponse(body, status, headers=headers)
