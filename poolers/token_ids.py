"""Fill in the token ids that a head refers to by name, once the tokenizer is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from .errors import ConfigError
from .parts import Expansion, TextSide
from .spec import PoolingSpec


def with_token_ids(spec: PoolingSpec, vocabulary: Mapping[str, int], special: Mapping[str, int | None]) -> PoolingSpec:
    """Return the head with the ids of its markers, expansion token, skiplist and special tokens.

    Args:
        spec: the resolved head.
        vocabulary: token -> id, added tokens included.
        special: role (``cls eos sep pad unk mask``) -> id, ``None`` where the tokenizer has no such token.

    Raises:
        ConfigError: an expansion token the tokenizer lacks, or one that cannot be told from padding.
    """
    if spec.sparse is not None and spec.sparse.kind == "token_weights":
        ids = _ids(special.get(role) for role in ("cls", "eos", "pad", "unk"))
        spec = dataclasses.replace(spec, sparse=dataclasses.replace(spec.sparse, special_token_ids=ids))
    late = spec.late_interaction
    if late is None:
        return spec
    filled = dataclasses.replace(
        late,
        query=_side(late.query, vocabulary),
        document=_side(late.document, vocabulary),
        expansion=None if late.expansion is None else _expansion(late.expansion, vocabulary, special),
        # A word that is no token of its own would stand for [UNK], and take real tokens out.
        skiplist_token_ids=_ids(vocabulary.get(word) for word in late.skiplist_words),
    )
    return dataclasses.replace(spec, late_interaction=filled)


def _ids(values: Iterable[int | None]) -> tuple[int, ...]:
    return tuple(sorted({value for value in values if value is not None}))


def _side(side: TextSide, vocabulary: Mapping[str, int]) -> TextSide:
    """Find the marker as one token, whole or up to its first space; one the tokenizer lacks becomes plain text.

    sentence-transformers' rule (``_register_prefix_tokens``): the rest behind the token is text.
    """
    word = side.marker.split(None, 1)[0] if side.marker.split() else ""
    for token in (side.marker, word):
        if token in vocabulary:
            rest = side.marker.removeprefix(token)
            return dataclasses.replace(side, marker=token, marker_id=vocabulary[token], prompt=rest + side.prompt)
    return dataclasses.replace(side, marker="", prompt=side.marker + side.prompt)


def _expansion(expansion: Expansion, vocabulary: Mapping[str, int], special: Mapping[str, int | None]) -> Expansion:
    if expansion.token is not None:
        found = vocabulary.get(expansion.token)
    else:
        found = special.get("mask")
        found = special.get("eos") if found is None else found
    if found is None:
        wanted = repr(expansion.token) if expansion.token is not None else "a mask token or an end of text"
        raise ConfigError(f"query expansion needs {wanted}, which the tokenizer does not have")
    if not expansion.attend and found == special.get("pad"):
        raise ConfigError(
            f"query expansion fills up with token {found}, which is the pad token too: rows that count could not be "
            "told from padding; set `attend`, or another token"
        )
    return dataclasses.replace(expansion, token_id=found)
