"""Texts for the benchmarks, made from the docstrings of Python's standard library: nothing is downloaded.

The files are parsed, never imported. The same Python gives the same texts; another one may not, so every result
states a hash of what it ran on, and its token counts.
"""

from __future__ import annotations

import ast
import hashlib
import json
import random
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

# Encoded length of a text in tokens, special tokens included.
Count = Callable[[str], int]

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_WORDS = (4, 60)  # a sentence shorter or longer than that is a heading or a listing

# The natural mix: log-normal, as lengths of texts are; with MiniLM's tokenizer 46 tokens on average and 191 at most.
_MEDIAN, _SIGMA, _LEAST, _MOST = 37.0, 0.7, 6, 191


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


@cache
def sentences() -> tuple[str, ...]:
    """Return the different sentences of the standard library's docstrings, in the order of files and lines."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(
        root.glob("*.py")
    )  # packages below it (tests, Tk, site-packages) come and go with how Python was packaged
    found: dict[str, None] = {}
    for path in files:
        for text in _docstrings(path):
            prose = (part for part in re.split(r"\n\s*\n", text) if ">>>" not in part)
            for sentence in (piece for part in prose for piece in _SENTENCE.split(" ".join(part.split()))):
                if _WORDS[0] <= len(sentence.split()) <= _WORDS[1] and sentence.isascii():
                    found[sentence] = None
    return tuple(found)


def fill(rng: random.Random, wanted: int, count: Count, known: Sequence[str]) -> str:
    """Return neighbouring sentences that are `wanted` tokens long or, where a word has several, just below."""
    start = rng.randrange(len(known))
    words: list[str] = []
    for step in range(len(known)):
        words += known[(start + step) % len(known)].split()
        if count(" ".join(words)) >= wanted:
            break
    low, high = 1, len(words)  # the most words that fit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(" ".join(words[:middle])) <= wanted else (low, middle - 1)
    return " ".join(words[:low])


def _texts(lengths: Callable[[random.Random], int], number: int, count: Count, seed: int) -> list[str]:
    rng, known = random.Random(seed), sentences()
    found: dict[str, None] = {}
    while len(found) < number:
        found[fill(rng, lengths(rng), count, known)] = None
    return list(found)


def natural(number: int, count: Count, seed: int = 0) -> list[str]:
    """Return different texts of a natural mix of lengths."""

    def length(rng: random.Random) -> int:
        return round(min(max(_LEAST, _MEDIAN * np.exp(rng.gauss(0, _SIGMA))), _MOST))

    return _texts(length, number, count, seed)


def short(number: int, count: Count, seed: int = 1) -> list[str]:
    """Return different texts of 8 to 16 tokens: queries."""
    fitting: list[str] = []
    for text in _texts(lambda rng: rng.randint(8, 16), 2 * number, count, seed):
        if 8 <= count(text) <= 16:
            fitting.append(text)
    return fitting[:number]


def long(number: int, count: Count, seed: int = 2, *, tokens: int = 512) -> list[str]:
    """Return different texts of 512 tokens (a little less, where the last word has several)."""
    return _texts(lambda _: tokens, number, count, seed)


def one_to_many(number: int, count: Count, seed: int = 3) -> list[str]:
    """Return a query of 8 to 16 tokens, then as many documents of a natural mix of lengths."""
    return [*short(1, count, seed), *natural(number, count, seed)]


def facts(texts: Sequence[str], count: Count) -> dict[str, object]:
    """Return what identifies texts: their number, a hash, and their token counts."""
    lengths = [count(text) for text in texts]
    digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    named = {"mean": np.mean, "min": np.min, "median": np.median, "max": np.max, "sum": np.sum}
    return {
        "texts": len(texts),
        "sha256": digest,
        "tokens": {name: round(float(of(lengths)), 2) for name, of in named.items()},
    }
