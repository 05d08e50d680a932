"""Routes about the server itself: models, health, version."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from ..exchange import Exchange, Reply, json_reply
from ..problems import NotReady
from ..route import Route


def models(exchange: Exchange, body: None) -> Reply:
    """List the served models, as OpenAI does."""
    data = [
        {
            "id": model.name,
            "object": "model",
            "created": model.created,
            "owned_by": "pool-export",
            "root": model.engine.bundle.manifest.source.id,
            "parent": None,
            "max_model_len": model.engine.tokenizer.max_length,
            "tasks": list(model.spec.tasks),
        }
        for model in exchange.models.models
    ]
    return json_reply({"object": "list", "data": data})


def health(exchange: Exchange, body: None) -> Reply:
    """Say that the process lives and can compute; where it cannot any more, it has to be started again.

    Raises:
        NotReady: the scheduler of a model has ended.
    """
    if ended := exchange.models.ended():
        raise NotReady(f"the thread that runs the model has ended: {', '.join(ended)}; restart the server")
    return Reply(b"")


def ready(exchange: Exchange, body: None) -> Reply:
    """Say whether requests are answered: not while the server stops, and not while a model's forward passes fail.

    A model that fails is tried again meanwhile (``Registry.failing``).

    Raises:
        NotReady: the server stops, or a model fails.
    """
    if exchange.models.is_stopping:
        raise NotReady("the server is shutting down")
    if failing := exchange.models.failing():
        raise NotReady(f"forward passes fail: {', '.join(failing)}")
    return json_reply({"status": "ready", "models": [model.name for model in exchange.models.models]})


def server_version(exchange: Exchange, body: None) -> Reply:
    """Name the versions that answer."""
    names: dict[str, Any] = {"version": version("pool-export"), "onnxruntime": version("onnxruntime")}
    return json_reply(names)


def metrics(exchange: Exchange, body: None) -> Reply:
    """Show what Prometheus reads."""
    data, media_type = exchange.metrics.exposition()
    return Reply(data, media_type)


ROUTES = (
    Route(method="GET", paths=("/v1/models",), handle=models, summary="Served models", tag="Server", computes=False),
    Route(
        method="GET", paths=("/health",), handle=health, summary="Is the process alive", tag="Server", computes=False
    ),
    Route(method="GET", paths=("/ready",), handle=ready, summary="Are requests answered", tag="Server", computes=False),
    Route(method="GET", paths=("/version",), handle=server_version, summary="Versions", tag="Server", computes=False),
    Route(method="GET", paths=("/metrics",), handle=metrics, summary="Prometheus", tag="Server", computes=False),
)
