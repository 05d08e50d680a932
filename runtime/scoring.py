"""``score``: which texts meet, and how a pair is answered (vLLM ``entrypoints/score_utils.py``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..poolers.parts import InputType
from .engine import PoolingEngine
from .errors import BundleError, InputError
from .image_engine import check_images
from .images import holds_image
from .late import maxsim
from .outputs import ScoringOutput, ScoringRequestOutput
from .pairs import PROMPT_OPTIONS, TEMPLATE_OPTIONS, PairOptions, pair_prompt, template_of, templated_prompt, trimmed
from .params import PoolingParams, check_params
from .prompting import with_prompt
from .prompts import Prompt, parse_prompts, parse_texts
from .requests import CallOptions, Rows, require_task, run
from .similarity import SIMILARITY_FUNCTIONS
from .sparse import similarity
from .tokens import Encoded
from .vectors import embed_sparse


def pair_up(queries: Sequence[object], documents: Sequence[object]) -> list[tuple[int, int]]:
    """Indices of the pairs to score: 1:1, 1:N (the query is repeated) or N:N.

    Raises:
        InputError: any other cardinality.
    """
    if len(queries) == 1:
        return [(0, index) for index in range(len(documents))]
    if len(queries) == len(documents):
        return [(index, index) for index in range(len(documents))]
    raise InputError(
        f"Input lengths must be either 1:1, 1:N or N:N, got {len(queries)} queries and {len(documents)} documents"
    )


def score(
    engine: PoolingEngine,
    data_1: Any,
    data_2: Any,
    params: PoolingParams | None,
    options: CallOptions,
    pairing: PairOptions | None = None,
) -> list[ScoringRequestOutput]:
    """Score pairs of texts (or of texts and images, where the model embeds both): 1:1, 1:N or N:N.

    Raises:
        InputError: another cardinality, a model that cannot score, or an option it cannot use.
    """
    spec, pairing = engine.bundle.manifest.pooling, pairing or PairOptions()
    if holds_image(data_1, data_2):
        return _score_images(engine, parse_prompts(data_1), parse_prompts(data_2), params, options, pairing)
    queries, documents = parse_texts(data_1, "text"), parse_texts(data_2, "text_pair")
    pairs = pair_up(queries, documents)
    if spec.convert == "classify" and spec.num_labels != 1:
        raise InputError("Scoring API is only enabled for num_labels == 1.")
    require_task("score", spec)
    queries = trimmed(queries, engine.tokenizer, "max_tokens_per_query", pairing.max_tokens_per_query)
    documents = trimmed(documents, engine.tokenizer, "max_tokens_per_doc", pairing.max_tokens_per_doc)
    if spec.convert == "embed" and spec.is_token_level:
        return _score_tokens(engine, queries, documents, pairs, params or PoolingParams(), options, pairing)
    if spec.convert == "embed":
        sides = _side_prompts(engine, queries, documents, pairing)
        return _score_vectors(engine, *sides, pairs, params or PoolingParams(), options, pairing)
    texts = [(queries[q], documents[d]) for q, d in pairs]
    rows = run(engine, "score", pair_prompts(engine, texts, params, options, pairing), params, options)
    return [
        ScoringRequestOutput(request_id=str(i), prompt_token_ids=item.ids, outputs=ScoringOutput(float(value[0])))
        for i, (item, value) in enumerate(rows)
    ]


def pair_prompts(
    engine: PoolingEngine,
    texts: Sequence[tuple[str, str]],
    params: PoolingParams | None,
    options: CallOptions,
    pairing: PairOptions,
) -> list[Prompt]:
    """What a cross-encoder reads of pairs: the tokenizer's pair, or the rendered score template.

    Raises:
        InputError: an option that this model cannot use, or a template that leaves no room for a document.
    """
    pairing.refuse(PROMPT_OPTIONS, "and a cross-encoder has no prompts; use instruction with a score template")
    chosen = template_of(engine.tokenizer, pairing)
    if chosen is None:
        pair_format = engine.bundle.manifest.pooling.pair_format
        return [pair_prompt(query, document, pair_format) for query, document in texts]
    if options.tokenization.lower_case:
        raise InputError("do_lower_case would lower-case the score template too; lower-case the texts instead")
    if options.tokenization.side == "left":
        raise InputError("truncation_side='left' would cut the head of the score template; leave it out: "
                         "a templated pair is fitted by shortening its document")  # fmt: skip
    asked = None if params is None else params.truncate_prompt_tokens
    limit = engine.tokenizer.limit(asked if asked is not None else options.truncation())
    return [templated_prompt(*pair, engine.tokenizer, *chosen, limit=limit) for pair in texts]


def _score_images(
    engine: PoolingEngine,
    left: list[Prompt],
    right: list[Prompt],
    params: PoolingParams | None,
    options: CallOptions,
    pairing: PairOptions,
) -> list[ScoringRequestOutput]:
    manifest = engine.bundle.manifest
    check_images([*left, *right], "embed", manifest)
    require_task("score", manifest.pooling)
    return _score_vectors(engine, left, right, pair_up(left, right), params or PoolingParams(), options, pairing)


def _score_vectors(
    engine: PoolingEngine,
    queries: list[Prompt],
    documents: list[Prompt],
    pairs: list[tuple[int, int]],
    params: PoolingParams,
    options: CallOptions,
    pairing: PairOptions,
) -> list[ScoringRequestOutput]:
    manifest = engine.bundle.manifest
    check_params(params, "score", manifest.pooling, engine.bundle.name)
    pairing.refuse(TEMPLATE_OPTIONS, "and an embedding model reads its two texts apart; use a prompt name a side")
    # Of the parameters only truncation matters: the bundle says how its vectors are compared.
    embedding = PoolingParams(truncate_prompt_tokens=params.truncate_prompt_tokens)
    # Every input is embedded once, however many pairs it is part of.
    texts = [*queries, *documents]
    rows: Sequence[tuple[Encoded, Any]]
    sparse = manifest.pooling.sparse
    if manifest.pooling.is_sparse_only and sparse is not None:
        worth: Callable[[Any, Any], float] = partial(similarity, kind=sparse.similarity)
        rows = embed_sparse(engine, texts, embedding, options)
    else:
        worth = _similarity_of(manifest.similarity)
        rows = run(engine, "embed", texts, embedding, options)
    return _meet(engine, rows[: len(queries)], rows[len(queries) :], pairs, worth)


def _similarity_of(name: str) -> Callable[[Any, Any], float]:
    if name not in SIMILARITY_FUNCTIONS:
        known = ", ".join(SIMILARITY_FUNCTIONS)
        raise BundleError(f"the bundle names the similarity {name!r}; expected one of: {known}")
    return SIMILARITY_FUNCTIONS[name]


def _score_tokens(
    engine: PoolingEngine,
    queries: list[str],
    documents: list[str],
    pairs: list[tuple[int, int]],
    params: PoolingParams,
    options: CallOptions,
    pairing: PairOptions,
) -> list[ScoringRequestOutput]:
    """Late interaction. Queries and documents are read as the checkpoint declares; vLLM reads both as they are."""
    spec = engine.bundle.manifest.pooling
    check_params(params, "score", spec, engine.bundle.name)
    pairing.refuse((*TEMPLATE_OPTIONS, *PROMPT_OPTIONS), "and late interaction reads texts as the checkpoint declares")
    late = spec.late_interaction
    vectors = PoolingParams(truncate_prompt_tokens=params.truncate_prompt_tokens)

    def embed(texts: list[str], side: InputType) -> Rows:
        own = replace(options, input_type=side if late is not None else None)
        return run(engine, "token_embed", [Prompt(text=text) for text in texts], vectors, own)

    kind = late.similarity if late is not None else "maxsim"
    left, right = embed(queries, "query"), embed(documents, "document")
    return _meet(engine, left, right, pairs, lambda query, document: maxsim(query, document, kind))


def _side_prompts(
    engine: PoolingEngine, queries: list[str], documents: list[str], pairing: PairOptions
) -> tuple[list[Prompt], list[Prompt]]:
    """Queries and documents, each behind the prompt of its side."""
    policy, spec = engine.tokenizer.policy, engine.bundle.manifest.pooling

    def behind(texts: list[str], name: str | None) -> list[Prompt]:
        return with_prompt([Prompt(text=text) for text in texts], policy, spec, prompt_name=name)

    return behind(queries, pairing.query_prompt_name), behind(documents, pairing.document_prompt_name)


def _meet(
    engine: PoolingEngine,
    queries: Sequence[tuple[Encoded, Any]],
    documents: Sequence[tuple[Encoded, Any]],
    pairs: list[tuple[int, int]],
    worth: Callable[[Any, Any], float],
) -> list[ScoringRequestOutput]:
    separator = [engine.tokenizer.policy.pad_token_id]
    results = []
    for q, d in pairs:
        (left, query), (right, document) = queries[q], documents[d]
        results.append(
            ScoringRequestOutput(
                request_id=f"{q}_{d}",
                prompt_token_ids=left.ids + separator + right.ids,
                outputs=ScoringOutput(worth(query, document)),
            )
        )
    return results
