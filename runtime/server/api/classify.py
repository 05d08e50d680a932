"""``POST /classify``: vLLM's route for sequence classifiers."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from ...params import PoolingParams
from ...requests import run
from ..exchange import Exchange, Reply, json_reply
from ..route import Route
from .common import Usage, envelope, usage_of
from .forms import PromptFields, read_prompts


class ClassificationRequest(PromptFields, kw_only=True):
    """Texts to classify. ``activation`` is vLLM 0.11's name of ``use_activation``."""

    use_activation: bool | None = None
    activation: bool | None = None


class ClassificationData(msgspec.Struct, kw_only=True):
    """One text's label (``null`` where the checkpoint names none), and a number for every label."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassificationAnswer(msgspec.Struct, kw_only=True):
    """The classes, in the order of the input."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ClassificationData]
    usage: Usage


def classify(exchange: Exchange, body: ClassificationRequest) -> Reply:
    """Classify texts."""
    served = exchange.model(body.model, "classify")
    prompts, special = read_prompts(exchange, served, body)
    params = PoolingParams(use_activation=body.use_activation, activation=body.activation)
    with exchange.engine(served) as engine:
        rows = run(engine, "classify", prompts, params, body.options(add_special_tokens=special))
    labels = dict(enumerate(served.spec.labels))
    data: list[dict[str, Any]] = [
        {
            "index": index,
            "label": labels.get(int(np.argmax(probs))),
            "probs": np.ascontiguousarray(probs),
            "num_classes": len(probs),
        }
        for index, (_, probs) in enumerate(rows)
    ]
    return json_reply(envelope(exchange, "classify", data, usage_of(item for item, _ in rows)))


ROUTES = (
    Route(
        paths=("/classify",),
        handle=classify,
        summary="Classify texts (vLLM)",
        tag="vLLM",
        body=ClassificationRequest,
        answer=ClassificationAnswer,
    ),
)
