"""Late interaction (ColBERT): what is done to a query or a document around the graph, and MaxSim.

The rules are sentence-transformers 6.2's (``multi_vector_encoder``, ``Transformer.preprocess``), which
are PyLate's. vLLM has none of them: no markers, no query expansion, no skiplist. Pure numpy and ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..poolers.parts import INPUT_TYPES, InputType, LateInteraction, LateSimilarity, TextSide
from .errors import InputError
from .prompts import Prompt
from .tokens import Encoded, TextTokenizer

Array = np.ndarray


def check_input_type(input_type: object, late: LateInteraction | None) -> None:
    """Refuse an input type that is none, or that the model has no use for.

    Raises:
        InputError: see above.
    """
    if input_type is None:
        return
    if input_type not in INPUT_TYPES:
        raise InputError(f"input_type must be {' or '.join(map(repr, INPUT_TYPES))}, got {input_type!r}")
    if late is None:
        raise InputError("this checkpoint declares nothing about queries and documents; leave out input_type")


def encode_texts(
    tokenizer: TextTokenizer,
    late: LateInteraction,
    input_type: InputType,
    prompts: Sequence[Prompt],
    truncate: Sequence[int | None],
) -> list[Encoded]:
    """Tokenize the texts of one side as the checkpoint declares it.

    Texts are cut at the declared length, as in training; where none is declared ``truncate`` decides
    alone. A query is filled up with the expansion token.

    Raises:
        InputError: a prompt that is no single text, or one that does not fit.
    """
    if any(prompt.text is None or prompt.pair is not None for prompt in prompts):
        raise InputError("input_type applies to texts; token ids and pairs are run as they are")
    side: TextSide = late.query if input_type == "query" else late.document
    expansion = late.expansion if input_type == "query" else None
    most = expansion.length if expansion is not None and expansion.is_fixed else side.max_length
    if expansion is not None and most is not None:
        most = max(most, expansion.length)
    limits = [_limit(tokenizer, most, asked, side.marker_id is not None) for asked in truncate]
    texts = [Prompt(text=side.prompt + (prompt.text or "")) for prompt in prompts]
    encoded = tokenizer.encode(texts, limits)
    if side.marker_id is not None:
        first = tokenizer.first_special_id()
        encoded = [_marked(item, side.marker_id, first) for item in encoded]
    if expansion is not None and expansion.token_id is not None:
        length = min(expansion.length, tokenizer.max_length)
        encoded = [_expanded(item, length, expansion.token_id, expansion.attend) for item in encoded]
    for item in encoded:
        tokenizer.check(item)
    return encoded


def _limit(tokenizer: TextTokenizer, most: int | None, asked: int | None, has_marker: bool) -> int | None:
    limit = tokenizer.limit(asked)
    if most is not None:
        limit = min(most, tokenizer.max_length if limit is None else limit)
    return limit - 1 if limit is not None and has_marker else limit


def _marked(item: Encoded, marker: int, first_special: int | None) -> Encoded:
    at = 1 if first_special is not None and item.ids[0] == first_special else 0
    ids = [*item.ids[:at], marker, *item.ids[at:]]
    return Encoded(ids, [*item.type_ids[:at], 0, *item.type_ids[at:]], truncated=item.truncated)


def _expanded(item: Encoded, length: int, token: int, attend: bool) -> Encoded:
    missing = max(0, length - len(item))
    return Encoded(
        item.ids + [token] * missing,
        item.type_ids + [0] * missing,
        unattended=0 if attend else missing,
        truncated=item.truncated,
    )


def kept_rows(late: LateInteraction, input_type: InputType | None, ids: Sequence[int]) -> Array:
    """Which token rows count: bool ``[num_tokens]``. Without an input type nothing is skipped but bge-m3's first."""
    kept = np.ones(len(ids), dtype=bool)
    if late.skips_first:
        kept[:1] = False
    if input_type is not None:
        side = late.query if input_type == "query" else late.document
        if side.skips:
            kept &= ~np.isin(np.asarray(ids), late.skiplist_token_ids)
    return kept


def maxsim(query: Array, document: Array, similarity: LateSimilarity = "maxsim") -> float:
    """Sum (``meanmaxsim``: mean) over query tokens of the largest dot product with a document token.

    Args:
        query: float32 ``[query_tokens, dim]``.
        document: float32 ``[document_tokens, dim]``; without a row nothing is similar, and the score is 0.
        similarity: how the query's tokens are combined.
    """
    if not len(query) or not len(document):
        return 0.0
    best = (query @ document.T).max(axis=1)
    return float(best.sum() if similarity == "maxsim" else best.mean())
