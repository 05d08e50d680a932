"""``POST /v2/embed``: Cohere's embedding route, as vLLM answers it (``entrypoints/pooling/embed``)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from ...errors import InputError
from ...manifest import TokenizerPolicy
from ...params import PoolingParams
from ...prompting import with_prompt
from ...prompts import Prompt
from ...requests import CallOptions, run
from ..exchange import Exchange, Reply, json_reply
from ..problems import BadRequest
from ..route import Route

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]

# Cohere's word -> the names that checkpoints give to such a prompt.
INPUT_TYPES: dict[str, tuple[str, ...]] = {
    "search_query": ("search_query", "query", "retrieval.query", "web_search_query"),
    "search_document": ("search_document", "document", "passage", "retrieval.passage", "corpus"),
    "classification": ("classification", "Classification"),
    "clustering": ("clustering", "Clustering", "separation"),
    "image": (),
}


class EmbedRequest(msgspec.Struct, kw_only=True):
    """Texts to embed; exactly one of ``texts``, ``images`` and ``inputs``. ``priority`` changes nothing here."""

    model: str | None = None
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[dict[str, Any]] | None = None
    input_type: str | None = None
    output_dimension: int | None = None
    embedding_types: list[EmbeddingType] | None = None
    truncate: Literal["NONE", "START", "END"] = "END"
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    priority: int = 0


class ApiVersion(msgspec.Struct, kw_only=True):
    """Whose answer this is like."""

    version: Literal["2"] = "2"


class BilledUnits(msgspec.Struct, kw_only=True):
    """Tokens that were run."""

    input_tokens: int


class Meta(msgspec.Struct, kw_only=True):
    """What the request took."""

    api_version: ApiVersion
    billed_units: BilledUnits


class Embeddings(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The vectors in every type that was asked for, in the order of the texts."""

    float_: list[list[float]] | None = msgspec.field(default=None, name="float")
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None
    base64: list[str] | None = None


class EmbedAnswer(msgspec.Struct, kw_only=True):
    """The embeddings by type."""

    id: str
    embeddings: Embeddings
    texts: list[str]
    meta: Meta
    response_type: Literal["embeddings_by_type"] = "embeddings_by_type"


def ubinary(vector: np.ndarray) -> np.ndarray:
    """One bit a number (set where it is not negative), the first in the highest bit; uint8 ``[dim / 8]``."""
    return np.packbits(vector >= 0)


def binary(vector: np.ndarray) -> np.ndarray:
    """The same bytes less 128; int8 ``[dim / 8]``."""
    return (ubinary(vector) ^ np.uint8(0x80)).view(np.int8)


_ENCODERS: dict[str, Callable[[np.ndarray], Any]] = {
    "float": lambda vector: vector,
    "binary": binary,
    "ubinary": ubinary,
    "base64": lambda vector: b64encode(vector.astype("<f4").tobytes()).decode(),
}


def embed(exchange: Exchange, body: EmbedRequest) -> Reply:
    """Embed texts, each in the types that were asked for."""
    texts = _texts(body)
    exchange.check_count("inputs" if body.texts is None else "texts", texts)
    types = _types(body)
    served = exchange.model(body.model, "embed")
    policy = served.engine.tokenizer.policy
    name, prompt = prompt_for(policy, body.input_type)
    with exchange.engine(served) as engine:
        prompts = with_prompt([Prompt(text=text) for text in texts], policy, served.spec, prompt, name)
        _check_lengths(engine.tokenizer.count, prompts, body)
        params = PoolingParams(dimensions=body.output_dimension)
        vectors = [vector for _, vector in run(engine, "embed", prompts, params, _options(body))]
    _check_packing(types, vectors)
    answer = {
        "id": exchange.request_id,
        "embeddings": {kind: [_ENCODERS[kind](vector) for vector in vectors] for kind in types},
        "texts": texts,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": exchange.call.prompt_tokens}},
        "response_type": "embeddings_by_type",
    }
    return json_reply(answer)


def prompt_for(policy: TokenizerPolicy, input_type: str | None) -> tuple[str | None, str | None]:
    """Which prompt an input type means: its name, or the text itself (``""``: none at all).

    A prompt of that very name is taken first. Cohere's own words also find a checkpoint's usual
    names (``query``, ``passage``); one for which the checkpoint has no prompt is no error, because
    Cohere's clients always send one: its default prompt is used, unless that is for another input type.

    Raises:
        InputError: a word that is neither Cohere's nor a prompt of the checkpoint.
    """
    if input_type is None or input_type in policy.prompts:
        return input_type, None
    if input_type not in INPUT_TYPES:
        supported = ", ".join(dict.fromkeys([*INPUT_TYPES, *policy.prompts]))
        raise InputError(f"Unsupported input_type {input_type!r}. Supported values: {supported}")
    for name in INPUT_TYPES[input_type]:
        if name in policy.prompts:
            return name, None
    elsewhere = {name for names in INPUT_TYPES.values() for name in names}
    return None, "" if policy.default_prompt_name in elsewhere else None


def _texts(body: EmbedRequest) -> list[str]:
    given = [name for name in ("texts", "images", "inputs") if getattr(body, name)]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise BadRequest(f"give exactly one of texts, images and inputs, and not empty; got {found}", "texts")
    if body.texts is not None:
        return body.texts
    if body.images:
        raise BadRequest("images are not supported by this route; send them to /v1/embeddings as messages", "images")
    return [_joined(item, index) for index, item in enumerate(body.inputs or [])]


def _joined(item: dict[str, Any], index: int) -> str:
    """The text of one entry of ``inputs``: its parts, one a line."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if not parts or len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        shown = msgspec.json.encode(item).decode()[:80]
        raise BadRequest(
            f'inputs[{index}] must be {{"content": [{{"type": "text", "text": TEXT}}, …]}} (images are not supported '
            f"by this route), got {shown}",
            f"inputs[{index}]",
        )
    return "\n".join(str(text) for text in texts)


def _types(body: EmbedRequest) -> Sequence[str]:
    types = list(dict.fromkeys(body.embedding_types or ["float"]))
    if wrong := [kind for kind in types if kind not in _ENCODERS]:
        raise BadRequest(
            f"embedding_types {wrong} need ranges that Cohere measured for its own models and no checkpoint has; "
            f"use {', '.join(_ENCODERS)}",
            "embedding_types",
        )
    return types


def _options(body: EmbedRequest) -> CallOptions:
    if body.truncate == "NONE":
        return CallOptions()
    side = "left" if body.truncate == "START" else "right"
    return CallOptions(body.max_tokens or -1, tokenization_kwargs={"truncation_side": side})


def _check_lengths(count: Callable[[Prompt], int], prompts: list[Prompt], body: EmbedRequest) -> None:
    if body.truncate != "NONE" or body.max_tokens is None:
        return
    for index, prompt in enumerate(prompts):
        if (found := count(prompt)) > body.max_tokens:
            raise InputError(
                f"texts[{index}] has {found} tokens, max_tokens is {body.max_tokens} and truncate is NONE; "
                "shorten it, or use truncate END or START"
            )


def _check_packing(types: Sequence[str], vectors: list[np.ndarray]) -> None:
    if vectors and vectors[0].size % 8 and {"binary", "ubinary"} & set(types):
        raise InputError(
            f"embedding_types binary and ubinary pack 8 numbers into a byte; this vector has {vectors[0].size}, "
            "use an output_dimension that is divisible by 8"
        )


ROUTES = (
    Route(
        paths=("/v2/embed",),
        handle=embed,
        summary="Embed texts (Cohere)",
        tag="Cohere",
        body=EmbedRequest,
        answer=EmbedAnswer,
    ),
)
