"""The ASGI application: routes over loaded models. Runs under any ASGI server; ``serving.py`` has ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from .auth import KeyCheck
from .config import ServerConfig
from .dispatch import Endpoint, ServerState, request_id
from .models import Registry
from .observers import Finished, Observers
from .routes import ROUTES


def make_state(
    models: Registry, config: ServerConfig, observers: Sequence[Callable[[Finished], object]] = ()
) -> ServerState:
    """Gather what all requests share.

    Raises:
        InputError: a key file that cannot be read.
    """
    return ServerState(
        models=models,
        config=config,
        check_key=KeyCheck(config.keys()),
        observers=Observers(observers),
        # A worker waits while its texts are in a batch, so there is one for every request that may be in the server.
        workers=ThreadPoolExecutor(config.max_concurrent_requests, thread_name_prefix="pool-export-request"),
        attendants=ThreadPoolExecutor(2, thread_name_prefix="pool-export-attendant"),
    )


def make_app(state: ServerState) -> Starlette:
    """Build the application."""
    routes = [
        StarletteRoute(path, Endpoint(route, state), methods=[route.method]) for route in ROUTES for path in route.paths
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})
    app.router.redirect_slashes = False  # a redirect names the scheme of this hop, which is not the client's
    app.state.server = state
    return app


async def _no_route(request: Request, error: Exception) -> Response:
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
    headers["x-request-id"] = request_id(request)
    return JSONResponse(body, status, headers=headers)
