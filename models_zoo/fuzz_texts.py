"""Made-up strings that tokenizers disagree about, by class: what a tokenizer inside a graph is compared on.

Standard library only, and the same strings every time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

from .texts import hard_texts, sentences

_SEED = 20
_EACH = 400

# Characters as ranges, `a-z` style; every one is written by its number where it cannot be seen.
_ACCENTED = "\u00c0-\u024f\u1e00-\u1eff"
_CJK = "\u4e00-\u9fff\u3040-\u30ff\u3400-\u4dbf\uf900-\ufa2d\uac00-\ud7a3\U00020000-\U000200ff"
_RIGHT_TO_LEFT = "\u05d0-\u05ea\u0591-\u05c7\u0621-\u064a\u064b-\u0652\u0660-\u0669\u0700-\u074f"
_SCRIPTS = "\u0370-\u03ff\u0400-\u052f\u0531-\u0587\u0900-\u097f\u0b80-\u0bff\u0e00-\u0e5b\u10a0-\u10ff\u1200-\u137f"
_COMBINING = "\u0300-\u036f\u0483-\u0487\u1ab0-\u1abe\u20d0-\u20f0\u302a-\u302f\u3099\u309a"
_EMOJI = "\U0001f300-\U0001f5ff\U0001f600-\U0001f64f\U0001f680-\U0001f6ff\u2600-\u27bf\U0001f1e6-\U0001f1ff"
_JOINERS = "\u200d\ufe0f\u20e3\U0001f3fb-\U0001f3ff"
_CONTROLS = "\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufff9-\ufffd\ue000-\ue010"
_SPACES = "\x20\t\n\r\x0b\x0c\x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_MARKS = (
    "!-/:-@\x5b-`{-~\u00a1-\u00bf\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u21ff\u3001-\u3003"
    "\u3008-\u3011\uff01-\uff0f"
)
_DIGITS = "0-9\u00b2\u00b3\u00b9\u00bc-\u00be\u0660-\u0669\u0966-\u096f\u2070-\u2079\u2150-\u2189\uff10-\uff19"

Maker = Callable[[random.Random], str]


@cache
def _letters(ranges: str) -> tuple[str, ...]:
    """Expand ranges into their characters."""
    found: list[str] = []
    index = 0
    while index < len(ranges):
        is_range = ranges[index + 1 : index + 2] == "-" and index + 2 < len(ranges)
        last = ranges[index + 2] if is_range else ranges[index]
        found += map(chr, range(ord(ranges[index]), ord(last) + 1))
        index += 3 if is_range else 1
    return tuple(found)


@cache
def _words() -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for sentence in sentences() for word in sentence.split()))


def _some_words(rng: random.Random, most: int = 6) -> list[str]:
    return [rng.choice(_words()) for _ in range(rng.randint(1, most))]


def _run(rng: random.Random, ranges: str, most: int = 8) -> str:
    return "".join(rng.choices(_letters(ranges), k=rng.randint(1, most)))


def _between(ranges: str) -> Maker:
    """Words of such characters, among ordinary ones, with and without spaces."""

    def make(rng: random.Random) -> str:
        parts = [_run(rng, ranges) if rng.random() < 0.6 else word for word in _some_words(rng)]
        return rng.choice((" ", " ", "")).join(parts)

    return make


def _inside(ranges: str) -> Maker:
    """Ordinary words with such characters put in anywhere."""

    def make(rng: random.Random) -> str:
        letters = list(" ".join(_some_words(rng)))
        for _ in range(rng.randint(1, 4)):
            letters.insert(rng.randint(0, len(letters)), rng.choice(_letters(ranges)))
        return "".join(letters)

    return make


def _emoji(rng: random.Random) -> str:
    parts = [_run(rng, _EMOJI, 3) + _run(rng, _JOINERS, 2) * rng.randint(0, 1) for _ in range(rng.randint(1, 4))]
    return rng.choice((" ", "")).join([*_some_words(rng, 3), *parts])


def _spaces(rng: random.Random) -> str:
    return (
        "".join(word + _run(rng, _SPACES, 3) for word in _some_words(rng)) if rng.random() < 0.9 else _run(rng, _SPACES)
    )


def _long_word(rng: random.Random) -> str:
    length = rng.choice((*range(95, 106), 150, 199, 200, 201, 300))
    letters = rng.choice((_ACCENTED, _CJK[:3], "a-z", "a-z0-9", "A-Z"))
    return rng.choice(("", "so ")) + "".join(rng.choices(_letters(letters), k=length)) + rng.choice(("", " on"))


def _cases(rng: random.Random) -> str:
    return " ".join(rng.choice((str.upper, str.title, str.swapcase))(word) for word in _some_words(rng))


def _digits(rng: random.Random) -> str:
    return "".join(rng.choice((_run(rng, _DIGITS, 4), _run(rng, _MARKS, 2), " ")) for _ in range(rng.randint(2, 9)))


def _anything(rng: random.Random) -> str:
    every = rng.choices((0x80, 0x800, 0x10000, 0x110000), k=rng.randint(1, 12))
    codes = [rng.randrange(top) for top in every]
    return "".join(chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF)


_CLASSES: dict[str, Maker] = {
    "words": lambda rng: " ".join(_some_words(rng, 12)),
    "letter case": _cases,
    "accents": _between(_ACCENTED),
    "combining marks": _inside(_COMBINING),
    "CJK": _between(_CJK),
    "right to left": _between(_RIGHT_TO_LEFT),
    "other scripts": _between(_SCRIPTS),
    "emoji": _emoji,
    "control characters": _inside(_CONTROLS),
    "kinds of white space": _spaces,
    "long words": _long_word,
    "punctuation": _inside(_MARKS),
    "digits": _digits,
    "any character": _anything,
}


def fuzz_texts(specials: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return some 6,000 different strings, by class; the zoo's hard texts are one of the classes.

    Args:
        specials: the tokenizer's special tokens, which one class writes into its texts.
    """
    rng = random.Random(_SEED)
    makers = dict(_CLASSES)
    if specials:
        makers["special tokens as text"] = lambda rng: _with_specials(rng, specials)
    found = {name: tuple(dict.fromkeys(make(rng) for _ in range(_EACH))) for name, make in makers.items()}
    return {"hard texts": hard_texts(), **found}


def _with_specials(rng: random.Random, specials: Sequence[str]) -> str:
    parts = _some_words(rng, 4)
    for _ in range(rng.randint(1, 3)):
        token = rng.choice(specials)
        parts.insert(rng.randint(0, len(parts)), rng.choice((token, token, token.lower(), token[1:])))
    return rng.choice((" ", " ", "")).join(parts)
