"""Routes about the server itself: models, health, version."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Literal

import msgspec

from ..exchange import Exchange, Reply, json_reply
from ..models import Served
from ..problems import NotReady
from ..route import Route


class ModelDetails(msgspec.Struct, kw_only=True):
    """What a model is and how it runs, for people and for the page: lines of its manifest, and its session."""

    source: str
    architecture: str
    licence: str
    device: str
    precision: str
    threads: int
    convert: str
    pooling: tuple[str, ...]
    activation: str
    similarity: str
    embedding_size: int | None
    is_matryoshka: bool
    matryoshka_dimensions: tuple[int, ...]
    dimensions: int | None
    num_labels: int | None
    labels: tuple[str, ...]
    step_tag_id: int | None
    prompts: dict[str, str]
    default_prompt_name: str | None


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
    details: ModelDetails


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
            "details": msgspec.to_builtins(details(model)),
        }
        for model in exchange.models.models
    ]
    return json_reply({"object": "list", "data": data})


def details(model: Served) -> ModelDetails:
    """Describe a served model."""
    manifest, session, spec = model.engine.bundle.manifest, model.engine.session, model.spec
    return ModelDetails(
        source=manifest.source.id,
        architecture=manifest.source.architecture,
        licence=manifest.source.licence,
        device=session.device,
        precision=session.precision,
        threads=session.threads,
        convert=spec.convert,
        pooling=spec.pooling,
        activation=spec.activation if spec.use_activation else "identity",
        similarity=manifest.similarity,
        embedding_size=spec.embedding_size,
        is_matryoshka=spec.is_matryoshka,
        matryoshka_dimensions=spec.matryoshka_dimensions,
        dimensions=spec.dimensions,
        num_labels=spec.num_labels,
        labels=spec.labels,
        step_tag_id=spec.step_tag_id,
        prompts=manifest.tokenizer.prompts,
        default_prompt_name=manifest.tokenizer.default_prompt_name,
    )


def health(exchange: Exchange, body: None) -> Reply:
    """Say that the process lives and can compute; where it cannot any more, it has to be started again.

    Raises:
        NotReady: the scheduler of a model has ended.
    """
    if ended := exchange.models.ended():
        raise NotReady(f"the thread that runs the model has ended: {', '.join(ended)}; restart the server")
    return Reply(b"", None)


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
        statuses=(503,),
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
    Route(
        method="GET",
        paths=("/metrics",),
        handle=metrics,
        summary="Prometheus",
        tag="Server",
        computes=False,
        media=("text/plain",),
    ),
)
