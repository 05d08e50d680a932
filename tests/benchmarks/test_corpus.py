from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pool_export.benchmarks import corpus


def words(text: str) -> int:
    return len(text.split()) + 2


def test_sentences_are_english_and_different() -> None:
    found = corpus.sentences()
    assert len(found) > 2000
    assert len(set(found)) == len(found)
    assert all(text.isascii() and ">>>" not in text for text in found)


@pytest.mark.parametrize("make", [corpus.natural, corpus.short, corpus.long, corpus.one_to_many])
def test_the_same_seed_gives_the_same_texts(make: Callable[..., list[str]]) -> None:
    first = make(12, words)
    assert first == make(12, words)
    assert first != make(12, words, seed=99)
    assert len(set(first)) == len(first)


def test_the_natural_mix_is_shaped_as_asked() -> None:
    facts = corpus.facts(corpus.natural(600, words), words)
    assert facts["texts"] == 600
    assert facts["tokens"]["mean"] == pytest.approx(46, abs=3)
    assert 150 < facts["tokens"]["max"] <= 191


def test_short_and_long_keep_to_their_lengths() -> None:
    assert all(8 <= words(text) <= 16 for text in corpus.short(100, words))
    assert {words(text) for text in corpus.long(5, words)} == {512}


def test_a_text_never_exceeds_what_is_asked_where_words_have_several_tokens() -> None:
    def halves(text: str) -> int:
        return sum((len(word) + 1) // 2 for word in text.split())

    for wanted in (5, 17, 60):
        text = corpus.fill(random.Random(wanted), wanted, halves, corpus.sentences())
        assert wanted - 20 < halves(text) <= wanted or len(text.split()) == 1


def test_the_hash_is_of_the_texts() -> None:
    one, other = corpus.facts(["a b", "c"], words), corpus.facts(["a b", "d"], words)
    assert one["sha256"] != other["sha256"]
    assert one["tokens"] == {"mean": 3.5, "min": 3, "median": 3.5, "max": 4, "sum": 7}
