"""Pairs that share their first text (a query and its documents): that text is tokenized once.

``Tokenizer.post_process`` joins two encodings exactly as encoding the pair does: it truncates, puts the
special tokens and sets the segments. A tokenizer for which that does not hold is found out by a probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from tokenizers import Encoding, Tokenizer

Text = str | tuple[str, str]  # a text, or a pair of texts

_PROBES = [("a query", text) for text in ("", "a document", " Two words. ")]


def share_their_first(texts: Sequence[Text]) -> TypeGuard[Sequence[tuple[str, str]]]:
    """Whether all are pairs and some have one first text in common."""
    pairs = [text for text in texts if isinstance(text, tuple)]
    return len(pairs) == len(texts) and len({first for first, _ in pairs}) < len(pairs)


def encode_shared(
    plain: Tokenizer, joining: Tokenizer, pairs: Sequence[tuple[str, str]], special: bool
) -> list[Encoding]:
    """Tokenize pairs; each different first text once.

    Args:
        plain: tokenizes the texts; must not truncate.
        joining: the same tokenizer, perhaps set to truncate the pairs.
        pairs: first and second texts.
        special: whether special tokens are added.
    """
    firsts = list(dict.fromkeys(first for first, _ in pairs))
    heads = dict(zip(firsts, plain.encode_batch_fast(firsts, add_special_tokens=False), strict=True))
    tails = plain.encode_batch_fast([second for _, second in pairs], add_special_tokens=False)
    return [joining.post_process(heads[first], tail, special) for (first, _), tail in zip(pairs, tails, strict=True)]


def joins_exactly(tokenizer: Tokenizer) -> bool:
    """Whether joined pairs are what encoding the pairs gives, segments included."""
    return all(
        [(item.ids, item.type_ids) for item in encode_shared(tokenizer, tokenizer, _PROBES, special)]
        == [(item.ids, item.type_ids) for item in tokenizer.encode_batch_fast(_PROBES, add_special_tokens=special)]
        for special in (True, False)
    )
