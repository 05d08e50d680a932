"""``score``: which texts meet, and what a meeting is worth (vLLM ``entrypoints/score_utils.py``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..poolers.parts import InputType, SparseHead
from ..poolers.spec import PairFormat
from .engine import Engine
from .errors import InputError
from .late import maxsim
from .outputs import ScoringOutput, ScoringRequestOutput
from .params import PoolingParams, check_params
from .prompts import Prompt, parse_texts
from .requests import CallOptions, Rows, require_task, run
from .sparse import similarity
from .tokens import Encoded
from .vectors import embed_sparse

_COSINE_EPS = 1e-8  # torch.nn.CosineSimilarity's default, which vLLM uses


def pair_up(queries: Sequence[str], documents: Sequence[str]) -> list[tuple[int, int]]:
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


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine similarity of two float32 vectors ``[dim]``."""
    norms = max(float(np.linalg.norm(left) * np.linalg.norm(right)), _COSINE_EPS)
    return float(np.dot(left, right)) / norms


def pair_prompt(query: str, document: str, pair_format: PairFormat) -> Prompt:
    """One cross-encoder input: the tokenizer's own pair, or plain concatenation."""
    if pair_format == "concat":
        return Prompt(text=query + document)
    return Prompt(text=query, pair=document)


def score(
    engine: Engine, data_1: Any, data_2: Any, params: PoolingParams | None, options: CallOptions
) -> list[ScoringRequestOutput]:
    """Score pairs of texts: 1:1, 1:N or N:N.

    Raises:
        InputError: another cardinality, or a model that cannot score.
    """
    spec = engine.bundle.manifest.pooling
    queries, documents = parse_texts(data_1, "text"), parse_texts(data_2, "text_pair")
    pairs = pair_up(queries, documents)
    if spec.convert == "classify" and spec.num_labels != 1:
        raise InputError("Scoring API is only enabled for num_labels == 1.")
    require_task("score", spec)
    if spec.is_sparse_only:
        return _score_sparse(engine, queries, documents, pairs, params or PoolingParams(), options)
    if spec.convert == "embed" and spec.is_token_level:
        return _score_tokens(engine, queries, documents, pairs, params or PoolingParams(), options)
    if spec.convert == "embed":
        return _score_vectors(engine, queries, documents, pairs, params or PoolingParams(), options)
    prompts = [pair_prompt(queries[q], documents[d], spec.pair_format) for q, d in pairs]
    rows = run(engine, "score", prompts, params, options)
    return [
        ScoringRequestOutput(request_id=str(i), prompt_token_ids=item.ids, outputs=ScoringOutput(float(value[0])))
        for i, (item, value) in enumerate(rows)
    ]


def _score_vectors(
    engine: Engine,
    queries: list[str],
    documents: list[str],
    pairs: list[tuple[int, int]],
    params: PoolingParams,
    options: CallOptions,
) -> list[ScoringRequestOutput]:
    check_params(params, "score", engine.bundle.manifest.pooling, engine.bundle.name)
    # Of the parameters only truncation matters: the score is the cosine, normalised or not.
    embedding = PoolingParams(truncate_prompt_tokens=params.truncate_prompt_tokens)
    # Every text is embedded once, however many pairs it is part of.
    prompts = [Prompt(text=text) for text in (*queries, *documents)]
    rows = run(engine, "embed", prompts, embedding, options)
    return _meet(engine, rows[: len(queries)], rows[len(queries) :], pairs, cosine)


def _score_tokens(
    engine: Engine,
    queries: list[str],
    documents: list[str],
    pairs: list[tuple[int, int]],
    params: PoolingParams,
    options: CallOptions,
) -> list[ScoringRequestOutput]:
    """Late interaction. Queries and documents are read as the checkpoint declares; vLLM reads both as they are."""
    spec = engine.bundle.manifest.pooling
    check_params(params, "score", spec, engine.bundle.name)
    late = spec.late_interaction
    vectors = PoolingParams(truncate_prompt_tokens=params.truncate_prompt_tokens)

    def embed(texts: list[str], side: InputType) -> Rows:
        own = replace(options, input_type=side if late is not None else None)
        return run(engine, "token_embed", [Prompt(text=text) for text in texts], vectors, own)

    kind = late.similarity if late is not None else "maxsim"
    left, right = embed(queries, "query"), embed(documents, "document")
    return _meet(engine, left, right, pairs, lambda query, document: maxsim(query, document, kind))


def _score_sparse(
    engine: Engine,
    queries: list[str],
    documents: list[str],
    pairs: list[tuple[int, int]],
    params: PoolingParams,
    options: CallOptions,
) -> list[ScoringRequestOutput]:
    """SPLADE: the dot product, or what the checkpoint names."""
    head = engine.bundle.manifest.pooling.sparse or SparseHead(kind="splade")
    check_params(params, "score", engine.bundle.manifest.pooling, engine.bundle.name)
    vectors = PoolingParams(truncate_prompt_tokens=params.truncate_prompt_tokens)
    rows = embed_sparse(engine, [Prompt(text=text) for text in (*queries, *documents)], vectors, options)
    return _meet(
        engine,
        rows[: len(queries)],
        rows[len(queries) :],
        pairs,
        lambda query, document: similarity(query, document, head.similarity),
    )


def _meet(
    engine: Engine,
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
