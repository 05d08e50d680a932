"""The ASGI application: routes over loaded models. Runs under any ASGI server; ``serving.py`` has ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from .assets import page_routes
from .auth import KeyCheck
from .config import ServerConfig
from .dispatch import Endpoint, ServerState
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
    app = Starlette(routes=[*routes, *page_routes()], exception_handlers={HTTPException: _no_route})
    app.state.server = state
    return app


async def _no_route(request: Request, error: Exception) -> Response:
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
    return JSONResponse({"detail": getattr(error, "detail", ""), "error": fields}, status, headers=headers)
