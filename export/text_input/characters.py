"""What a BERT tokenizer does to single characters, asked of the tokenizer itself.

Its normaliser and its splitter look at one character at a time, so their whole behaviour is a table over Unicode.
The tables of other libraries differ (versions of Unicode, what counts as punctuation or a control character), which
is why none of them is used.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from tokenizers import Tokenizer

NUL = "\0"


@dataclass(frozen=True)
class Characters:
    """Characters by what becomes of them.

    Attributes:
        deleted: nothing.
        spaces: a space; what the splitter takes for one is here too.
        padded: themselves, between spaces (Chinese characters).
        mapped: another string.
        alone: a word of their own (punctuation), after normalisation.
    """

    deleted: set[str] = field(default_factory=set)
    spaces: set[str] = field(default_factory=set)
    padded: set[str] = field(default_factory=set)
    mapped: dict[str, str] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)


def every_character() -> list[str]:
    """All of Unicode but surrogates, which no UTF-8 text holds."""
    return [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]


def read_characters(tokenizer: Tokenizer) -> Characters:
    """Ask a tokenizer's normaliser and splitter about every character."""
    found = Characters()
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    for letter in every_character():
        became = normalizer.normalize_str(letter) if normalizer is not None else letter
        if not became:
            found.deleted.add(letter)
        elif not became.strip(" "):
            found.spaces.add(letter)
        elif became == f" {letter} ":
            found.padded.add(letter)
        elif became != letter:
            found.mapped[letter] = became
        pieces = [piece for piece, _ in splitter.pre_tokenize_str(f"a{letter}a")]
        if pieces == ["a", letter, "a"]:
            found.alone.add(letter)
        elif pieces == ["a", "a"] and letter not in found.deleted:
            found.spaces.add(letter)
    return found
