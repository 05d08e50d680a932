"""The zoo's fixed texts: what the parity gate, the tests and the demos feed to models.

Standard library only. The files in ``data/`` are part of the contract: changing a line changes
the golden vectors of every bundle exported afterwards.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

_LONG_TEXT_SENTENCES = 45
_PARAGRAPH = slice(100, 108)  # sentences of middling length


def _read(name: str) -> str:
    # Not `resources.read_text`: it would translate line endings on some platforms.
    return (resources.files(__package__) / "data" / name).read_bytes().decode("utf-8")


@cache
def sentences() -> tuple[str, ...]:
    """Return 200-odd plain English sentences of 3 to 60 words, each of them different."""
    return tuple(_read("sentences.txt").splitlines())


@cache
def hard_texts() -> tuple[str, ...]:
    """Return texts that break tokenizers and exporters: empty, long, non-Latin, emoji, control characters.

    The first one is the empty string; the last one has several hundred words.
    """
    short: list[str] = json.loads(_read("hard_texts.json"))
    return (*short, " ".join(sentences()[:_LONG_TEXT_SENTENCES]))


@cache
def paragraph() -> str:
    """Return a text of some hundred words: long for a text, within the limit of most models."""
    return " ".join(sentences()[_PARAGRAPH])


@cache
def pairs() -> tuple[tuple[str, str], ...]:
    """Return (query, document) pairs for cross-encoders; many queries have a right and a wrong document."""
    rows = (line.partition("\t") for line in _read("pairs.tsv").splitlines())
    return tuple((query, document) for query, _, document in rows)


@cache
def tokenizer_texts() -> tuple[str, ...]:
    """Return the multilingual lines that the tiny tokenizers learn their vocabularies from."""
    return tuple(_read("tokenizer_text.txt").splitlines())
