"""``POST /score`` and ``/v1/score``: pairs of texts, with vLLM's fields of every generation."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...outputs import ScoringRequestOutput
from ...pairs import PairOptions
from ...params import PoolingParams
from ...requests import CallOptions
from ...scoring import score
from ..exchange import Exchange, Reply, json_reply
from ..problems import BadRequest
from ..route import Route
from .common import RequestFields, Usage, envelope, usage_of_call

Texts = str | list[str]

# The two sides of a request under every pair of names that vLLM 0.11 to 0.32 take.
SIDES = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))
SIDE_NAMES = tuple(dict.fromkeys(name for pair in SIDES for name in pair))


class PairFields(RequestFields, kw_only=True):
    """Fields of every route that scores pairs.

    ``query_prompt_name`` and ``document_prompt_name`` are ours: prompts of an embedding model's two sides.
    """

    use_activation: bool | None = None
    activation: bool | None = None
    max_tokens_per_query: int = 0
    max_tokens_per_doc: int | None = None
    instruction: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    query_prompt_name: str | None = None
    document_prompt_name: str | None = None

    def params(self) -> PoolingParams:
        """The activation switch, under either of its names."""
        return PoolingParams(use_activation=self.use_activation, activation=self.activation)

    def pairing(self) -> PairOptions:
        """What is done to the two texts before they meet."""
        return PairOptions(
            instruction=self.instruction,
            chat_template_kwargs=self.chat_template_kwargs,
            max_tokens_per_query=self.max_tokens_per_query,
            max_tokens_per_doc=self.max_tokens_per_doc or 0,
            query_prompt_name=self.query_prompt_name,
            document_prompt_name=self.document_prompt_name,
        )


class ScoreRequest(PairFields, kw_only=True):
    """Two sides under one pair of names: 1:1, 1:N or N:N."""

    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None

    def sides(self) -> tuple[str, str]:
        """Names of the two fields that were given.

        Raises:
            BadRequest: not exactly one of the pairs.
        """
        given = {name for name in SIDE_NAMES if getattr(self, name) is not None}
        for pair in SIDES:
            if given == set(pair):
                return pair
        allowed = ", ".join(" and ".join(pair) for pair in SIDES)
        missing = next((name for pair in SIDES if given < set(pair) for name in pair if name not in given), None)
        found = " and ".join(name for name in SIDE_NAMES if name in given) or "none of them"
        raise BadRequest(f"give exactly one of these pairs of fields: {allowed}; got {found}", missing)


class ScoreData(msgspec.Struct, kw_only=True):
    """One pair's score."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreAnswer(msgspec.Struct, kw_only=True):
    """The scores, in the order of the pairs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ScoreData]
    usage: Usage


def scored(
    exchange: Exchange,
    model: str | None,
    left: Texts,
    right: Texts,
    params: PoolingParams,
    options: CallOptions,
    pairing: PairOptions | None = None,
) -> list[ScoringRequestOutput]:
    """Score pairs with the model of the request; see ``runtime.scoring.score``.

    Raises:
        ModelNotFound, InputError: the model, or what it cannot do.
    """
    with exchange.engine(exchange.model(model, "score")) as engine:
        return score(engine, left, right, params, options, pairing)


def score_pairs(exchange: Exchange, body: ScoreRequest) -> Reply:
    """Score pairs of texts."""
    names = body.sides()
    left, right = (getattr(body, name) for name in names)
    for name, side in zip(names, (left, right), strict=True):
        exchange.check_count(name, side)
    outputs = scored(exchange, body.model, left, right, body.params(), body.options(), body.pairing())
    data: list[dict[str, Any]] = [
        {"index": index, "object": "score", "score": output.outputs.score} for index, output in enumerate(outputs)
    ]
    return json_reply(envelope(exchange, "score", data, usage_of_call(exchange)))


ROUTES = (
    Route(
        paths=("/score", "/v1/score"),
        handle=score_pairs,
        summary="Score pairs of texts (vLLM)",
        tag="vLLM",
        body=ScoreRequest,
        answer=ScoreAnswer,
    ),
)
