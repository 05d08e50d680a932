"""``score``: which texts meet, and what a meeting is worth (vLLM ``entrypoints/score_utils.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..poolers.spec import PairFormat
from .engine import Engine
from .errors import InputError
from .image_engine import check_images
from .images import holds_image
from .outputs import ScoringOutput, ScoringRequestOutput
from .params import PoolingParams, check_params
from .prompts import Prompt, parse_prompts, parse_texts
from .requests import CallOptions, require_task, run

_COSINE_EPS = 1e-8  # torch.nn.CosineSimilarity's default, which vLLM uses


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
    """Score pairs of texts (or of texts and images, where the model embeds both): 1:1, 1:N or N:N.

    Raises:
        InputError: another cardinality, or a model that cannot score.
    """
    spec = engine.bundle.manifest.pooling
    if holds_image(data_1, data_2):
        return _score_images(engine, parse_prompts(data_1), parse_prompts(data_2), params, options)
    queries, documents = parse_texts(data_1, "text"), parse_texts(data_2, "text_pair")
    pairs = pair_up(queries, documents)
    if spec.convert == "classify" and spec.num_labels != 1:
        raise InputError("Scoring API is only enabled for num_labels == 1.")
    require_task("score", spec)
    if spec.convert == "embed":
        sides = [Prompt(text=text) for text in queries], [Prompt(text=text) for text in documents]
        return _score_vectors(engine, *sides, pairs, params or PoolingParams(), options)
    prompts = [pair_prompt(queries[q], documents[d], spec.pair_format) for q, d in pairs]
    rows = run(engine, "score", prompts, params, options)
    return [
        ScoringRequestOutput(request_id=str(i), prompt_token_ids=item.ids, outputs=ScoringOutput(float(value[0])))
        for i, (item, value) in enumerate(rows)
    ]


def _score_images(
    engine: Engine, left: list[Prompt], right: list[Prompt], params: PoolingParams | None, options: CallOptions
) -> list[ScoringRequestOutput]:
    manifest = engine.bundle.manifest
    check_images([*left, *right], "embed", manifest)
    require_task("score", manifest.pooling)
    return _score_vectors(engine, left, right, pair_up(left, right), params or PoolingParams(), options)


def _score_vectors(
    engine: Engine,
    queries: list[Prompt],
    documents: list[Prompt],
    pairs: list[tuple[int, int]],
    params: PoolingParams,
    options: CallOptions,
) -> list[ScoringRequestOutput]:
    check_params(params, "score", engine.bundle.manifest.pooling, engine.bundle.name)
    # Of the parameters only truncation matters: the score is the cosine, normalised or not.
    embedding = PoolingParams(truncate_prompt_tokens=params.truncate_prompt_tokens)
    # Every input is embedded once, however many pairs it is part of.
    rows = run(engine, "embed", [*queries, *documents], embedding, options)
    separator = [engine.tokenizer.policy.pad_token_id]
    results = []
    for q, d in pairs:
        (left, query), (right, document) = rows[q], rows[len(queries) + d]
        results.append(
            ScoringRequestOutput(
                request_id=f"{q}_{d}",
                prompt_token_ids=left.ids + separator + right.ids,
                outputs=ScoringOutput(cosine(query, document)),
            )
        )
    return results
