"""Token classification on the command line: a row a token, with its best label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runtime.llm import LLM
    from ..runtime.outputs import PoolingRequestOutput


def token_records(llm: LLM, results: Sequence[PoolingRequestOutput]) -> list[dict[str, Any]]:
    """One record a text: its tokens as the vocabulary spells them, their best labels, every label's number."""
    return [
        {
            "index": index,
            "tokens": llm.engine.tokenizer.tokens(item.prompt_token_ids),
            "labels": [llm.spec.labels[int(row.argmax())] for row in item.outputs.data],
            "probs": item.outputs.data.tolist(),
        }
        for index, item in enumerate(results)
    ]


def token_rows(llm: LLM, results: Sequence[PoolingRequestOutput]) -> list[tuple[object, ...]]:
    """One row a token: number of its text, token, best label, that label's number."""
    return list(_rows(llm, results))


def _rows(llm: LLM, results: Sequence[PoolingRequestOutput]) -> Iterator[tuple[object, ...]]:
    for record, item in zip(token_records(llm, results), results, strict=True):
        for token, label, row in zip(record["tokens"], record["labels"], item.outputs.data, strict=True):
            yield record["index"], token, label, f"{row.max():.4f}"
