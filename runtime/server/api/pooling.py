"""``POST /pooling``: vLLM's route for every task of every model."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ....poolers.parts import InputType
from ....poolers.spec import TASKS
from ...params import PoolingParams
from ...requests import run
from ..exchange import Exchange, Reply
from ..problems import BadRequest
from ..route import Route
from .common import Usage
from .embeddings import EmbeddingRequest
from .encoding import vectors_reply
from .forms import read_prompts


class PoolingRequest(EmbeddingRequest, kw_only=True):
    """What to run, and as which task (``null``: the model's first). ``input_type`` is for late interaction."""

    task: str | None = None
    input_type: InputType | None = None


class PoolingData(msgspec.Struct, kw_only=True):
    """One input's array: numbers (lists of lists where there is a row a token), or base64 of them."""

    index: int
    object: Literal["pooling"] = "pooling"
    data: list[Any] | str


class PoolingAnswer(msgspec.Struct, kw_only=True):
    """The arrays, in the order of the input."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[PoolingData]
    usage: Usage


def pooling(exchange: Exchange, body: PoolingRequest) -> Reply:
    """Run any task but ``score``.

    Raises:
        BadRequest: ``dimensions`` (vLLM refuses them here), or an unknown task.
    """
    if body.dimensions is not None:
        raise BadRequest(f"dimensions is currently not supported (by /pooling; /v1/embeddings takes it), "
                         f"got {body.dimensions}", "dimensions")  # fmt: skip
    task = next((task for task in TASKS if task == body.task), None)
    if body.task is not None and (task is None or task == "score"):
        known = ", ".join(task for task in TASKS if task != "score")
        raise BadRequest(f"Unsupported task: {body.task!r:.80}; task must be one of {known}", "task")
    served = exchange.model(body.model, *([task] if task is not None else []))
    task = task or served.spec.tasks[0]
    prompts, special = read_prompts(exchange, served, body)
    params = PoolingParams(use_activation=body.use_activation, normalize=body.normalize)
    options = body.options(add_special_tokens=special, input_type=body.input_type)
    with exchange.engine(served) as engine:
        rows = run(engine, task, prompts, params, options)
    return vectors_reply(exchange, "pooling", rows, body.form(), kind="pooling", key="data")


ROUTES = (
    Route(
        paths=("/pooling",),
        handle=pooling,
        summary="Run any pooling task (vLLM)",
        tag="vLLM",
        body=PoolingRequest,
        answer=PoolingAnswer,
        media=("application/json", "application/octet-stream"),
    ),
)
