"""``/rerank``, ``/v1/rerank`` and ``/v2/rerank``: Jina's, Cohere's and vLLM's request, and on ``/rerank`` TEI's too."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from ...params import PoolingParams
from ...postprocess import sigmoid
from ..exchange import Exchange, Reply, json_reply
from ..problems import BadRequest
from ..route import Route
from .common import usage_of_call
from .score import PairFields, scored
from .tei_fields import TeiRank, TeiRerankRequest, TruncationDirection, has_no_activation


class TextDocument(msgspec.Struct, kw_only=True):
    """A text inside an object, as Jina's and Cohere's first version take it."""

    text: str


Document = str | TextDocument


class RankFields(PairFields, kw_only=True):
    """What the request forms have in common.

    Attributes:
        top_n: keep the best so many; 0 or null keeps all.
        return_documents: put the documents into the answer; they are left out only for ``false``.
    """

    top_n: Annotated[int, msgspec.Meta(ge=0)] | None = None
    return_documents: bool | None = None


class RerankRequest(RankFields, kw_only=True):
    """A query and its documents."""

    query: Document
    documents: Document | list[Document]


class SharedRerankRequest(RankFields, kw_only=True):
    """A query with ``documents`` (Jina, Cohere, vLLM), or with ``texts`` (TEI: a list is answered).

    TEI's fields are ``texts``, ``raw_scores``, ``return_text``, ``truncate`` and ``truncation_direction``.
    """

    query: Document
    documents: Document | list[Document] | None = None
    texts: list[str] | None = None
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None
    truncation_direction: TruncationDirection = "right"


class RerankedDocument(msgspec.Struct, kw_only=True):
    """The document itself; ``multi_modal`` is vLLM's field and always null."""

    text: str
    multi_modal: None = None


class RerankResult(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One document's rank."""

    index: int
    relevance_score: float
    document: RerankedDocument | None = None


class RerankUsage(msgspec.Struct, kw_only=True):
    """Tokens that were run."""

    prompt_tokens: int
    total_tokens: int


class RerankAnswer(msgspec.Struct, kw_only=True):
    """The best documents, the most relevant first."""

    id: str
    model: str
    usage: RerankUsage
    results: list[RerankResult]


def by_score(scores: list[float]) -> list[int]:
    """Indices, the largest score first; equal ones stay in their order."""
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def rerank(exchange: Exchange, body: RerankRequest) -> Reply:
    """Rank documents by their relevance to a query."""
    return _ranked(exchange, body, body.query, body.documents)


def rerank_either(exchange: Exchange, body: SharedRerankRequest) -> Reply:
    """Rank, in the form of the request.

    Raises:
        BadRequest: neither ``documents`` nor ``texts``, or both.
    """
    if body.documents is not None and body.texts is None:
        return _ranked(exchange, body, body.query, body.documents)
    if body.texts is None or body.documents is not None:
        found = "neither" if body.texts is None else "both"
        raise BadRequest(f"give documents (Jina, Cohere, vLLM) or texts (TEI), got {found}", "documents")
    request = TeiRerankRequest(
        model=body.model,
        query=_text(body.query),
        texts=body.texts,
        raw_scores=body.raw_scores,
        return_text=body.return_text,
        truncate=body.truncate,
        truncation_direction=body.truncation_direction,
    )
    return rerank_texts(exchange, request)


def _ranked(exchange: Exchange, body: RankFields, query: Document, documents: Document | list[Document]) -> Reply:
    exchange.check_count("documents", documents)
    texts = [_text(document) for document in (documents if isinstance(documents, list) else [documents])]
    outputs = scored(exchange, body.model, _text(query), texts, body.params(), body.options(), body.pairing())
    scores = [output.outputs.score for output in outputs]
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": scores[index]} for index in by_score(scores)[: body.top_n or None]
    ]
    if body.return_documents is not False:
        for result in results:
            result["document"] = {"text": texts[result["index"]], "multi_modal": None}
    usage = usage_of_call(exchange)
    answer = {
        "id": f"rerank-{exchange.request_id}",
        "model": exchange.served.name if exchange.served else None,
        "usage": {name: usage[name] for name in RerankUsage.__struct_fields__},
        "results": results,
    }
    return json_reply(answer)


def rerank_texts(exchange: Exchange, body: TeiRerankRequest) -> Reply:
    """Rank texts, in TEI's form.

    A model without an activation of its own still answers a number between 0 and 1 unless
    ``raw_scores`` is set, as TEI does (``core/src/infer.rs``, ``predict``).
    """
    exchange.check_count("texts", body.texts)
    served = exchange.model(body.model, "score")
    is_bare = has_no_activation(served.spec)
    params = PoolingParams(use_activation=not (body.raw_scores or is_bare))
    outputs = scored(exchange, served.name, body.query, body.texts, params, body.options())
    scores = [output.outputs.score for output in outputs]
    if is_bare and not body.raw_scores:
        scores = [float(value) for value in sigmoid(np.array(scores, np.float32))]
    ranks: list[dict[str, Any]] = [{"index": index, "score": scores[index]} for index in by_score(scores)]
    if body.return_text:
        for rank in ranks:
            rank["text"] = body.texts[rank["index"]]
    return json_reply(ranks)


def _text(document: Document) -> str:
    return document.text if isinstance(document, TextDocument) else document


ROUTES = (
    Route(
        paths=("/rerank",),
        handle=rerank_either,
        summary="Rank documents by a query (Jina, Cohere, vLLM; TEI with `texts`)",
        tag="Jina",
        body=SharedRerankRequest,
        answer=RerankAnswer | list[TeiRank],
    ),
    Route(
        paths=("/v1/rerank", "/v2/rerank"),
        handle=rerank,
        summary="Rank documents by a query (Jina, Cohere, vLLM)",
        tag="Jina",
        body=RerankRequest,
        answer=RerankAnswer,
    ),
)
