"""Routes about the server itself: models, health, version."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Literal

import msgspec

from ..exchange import Exchange, Reply, json_reply
from ..problems import NotReady
from ..route import Route


class ModelItem(msgspec.Struct, kw_only=True):
    """One served model; `tasks` says which routes it answers."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str
    parent: None = None
    max_model_len: int
    tasks: list[str]


class ModelList(msgspec.Struct, kw_only=True):
    """The served models, in the order they were named."""

    object: Literal["list"] = "list"
    data: list[ModelItem]


class Readiness(msgspec.Struct, kw_only=True):
    """The models that answer."""

    status: Literal["ready"]
    models: list[str]


class Versions(msgspec.Struct, kw_only=True):
    """What answers, in which version."""

    version: str
    onnxruntime: str


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
    """Say that the process lives."""
    return Reply(b"", None)


def ready(exchange: Exchange, body: None) -> Reply:
    """Say whether requests are answered: every model's last forward pass, or a new one, succeeded.

    Raises:
        NotReady: a model fails.
    """
    if not exchange.models.is_ready():
        failing = [model.name for model in exchange.models.models if not model.scheduler.is_healthy]
        raise NotReady(f"forward passes fail: {', '.join(failing)}")
    return json_reply({"status": "ready", "models": [model.name for model in exchange.models.models]})


def server_version(exchange: Exchange, body: None) -> Reply:
    """Name the versions that answer."""
    names: dict[str, Any] = {"version": version("pool-export"), "onnxruntime": version("onnxruntime")}
    return json_reply(names)


ROUTES = (
    Route(
        method="GET",
        paths=("/v1/models",),
        handle=models,
        summary="Served models",
        tag="Server",
        answer=ModelList,
        computes=False,
    ),
    Route(
        method="GET",
        paths=("/health",),
        handle=health,
        summary="Is the process alive",
        tag="Server",
        computes=False,
        media=(),
    ),
    Route(
        method="GET",
        paths=("/ready",),
        handle=ready,
        summary="Are requests answered",
        tag="Server",
        answer=Readiness,
        computes=False,
        statuses=(503,),
    ),
    Route(
        method="GET",
        paths=("/version",),
        handle=server_version,
        summary="Versions",
        tag="Server",
        answer=Versions,
        computes=False,
    ),
)
