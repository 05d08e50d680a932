"""``POST /v1/embeddings``: OpenAI's route with vLLM's fields."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...params import PoolingParams
from ...prompting import with_prompt
from ...prompts import parse_prompts
from ...requests import run
from ..exchange import Exchange, Reply, json_reply
from ..route import Route
from .common import RequestFields, Usage, envelope, usage_of

Input = str | list[str | int | list[int]]


class EmbeddingRequest(RequestFields, kw_only=True):
    """Texts or token ids to embed."""

    input: Input
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    add_special_tokens: bool = True
    use_activation: bool | None = None
    normalize: bool | None = None


class EmbeddingData(msgspec.Struct, kw_only=True):
    """One vector."""

    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str


class EmbeddingAnswer(msgspec.Struct, kw_only=True):
    """The vectors, in the order of the input."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[EmbeddingData]
    usage: Usage


def embeddings(exchange: Exchange, body: EmbeddingRequest) -> Reply:
    """Embed texts or token ids."""
    exchange.check_count("input", body.input)
    served = exchange.model(body.model, "embed")
    params = PoolingParams(dimensions=body.dimensions, use_activation=body.use_activation, normalize=body.normalize)
    options = body.options(add_special_tokens=body.add_special_tokens)
    with exchange.engine(served) as engine:
        prompts = with_prompt(parse_prompts(body.input), engine.tokenizer.policy, served.spec)
        rows = run(engine, "embed", prompts, params, options)
    data: list[dict[str, Any]] = [
        {"index": index, "object": "embedding", "embedding": vector} for index, (_, vector) in enumerate(rows)
    ]
    return json_reply(envelope(exchange, "embd", data, usage_of(item for item, _ in rows)))


ROUTES = (
    Route(
        paths=("/v1/embeddings",),
        handle=embeddings,
        summary="Embed texts (OpenAI, vLLM)",
        tag="OpenAI",
        body=EmbeddingRequest,
        answer=EmbeddingAnswer,
    ),
)
