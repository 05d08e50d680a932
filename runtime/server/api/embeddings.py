"""``POST /v1/embeddings``: OpenAI's route with vLLM's fields."""

from __future__ import annotations

from typing import Literal

import msgspec

from ...params import PoolingParams
from ...requests import run
from ..exchange import Exchange, Reply
from ..route import Route
from .common import Usage
from .encoding import EmbedDtype, EncodingFormat, Endianness, NumberFormat, vectors_reply
from .forms import PromptFields, read_prompts


class EmbeddingRequest(PromptFields, kw_only=True):
    """Texts, token ids or chats to embed.

    ``embed_dtype`` and ``endianness`` are those of ``base64``, ``bytes`` and ``bytes_only``. ``normalize`` is
    vLLM 0.11's name of ``use_activation``.
    """

    encoding_format: EncodingFormat = "float"
    embed_dtype: EmbedDtype = "float32"
    endianness: Endianness = "native"
    dimensions: int | None = None
    use_activation: bool | None = None
    normalize: bool | None = None

    def form(self) -> NumberFormat:
        """How the numbers are to be written."""
        return NumberFormat(self.encoding_format, self.embed_dtype, self.endianness)


class EmbeddingData(msgspec.Struct, kw_only=True):
    """One vector: numbers, or base64 of them."""

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
    """Embed texts, token ids, chats or images."""
    served = exchange.model(body.model, "embed")
    prompts, special = read_prompts(exchange, served, body)
    params = PoolingParams(dimensions=body.dimensions, use_activation=body.use_activation, normalize=body.normalize)
    with exchange.engine(served) as engine:
        rows = run(engine, "embed", prompts, params, body.options(add_special_tokens=special))
    return vectors_reply(exchange, "embd", rows, body.form())


ROUTES = (
    Route(
        paths=("/v1/embeddings",),
        handle=embeddings,
        summary="Embed texts (OpenAI, vLLM)",
        tag="OpenAI",
        body=EmbeddingRequest,
        answer=EmbeddingAnswer,
        media=("application/json", "application/octet-stream"),
    ),
)
