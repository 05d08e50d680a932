from __future__ import annotations

import unicodedata

from pool_export.models_zoo import texts


def test_sentences_are_many_different_and_of_every_length():
    lengths = [len(sentence.split()) for sentence in texts.sentences()]
    assert len(texts.sentences()) >= 200
    assert len(set(texts.sentences())) == len(texts.sentences())
    assert min(lengths) == 3
    assert 50 <= max(lengths) <= 60
    assert len(set(lengths)) >= 25


def test_sentences_are_trimmed_and_finished():
    for sentence in texts.sentences():
        assert sentence == sentence.strip()
        assert sentence[-1] in ".?"


def test_hard_texts_hold_every_kind_of_trouble():
    hard = texts.hard_texts()
    joined = "".join(hard)
    assert hard[0] == ""
    assert any(text and not text.strip() for text in hard)
    assert any(len(text) == 1 for text in hard)
    assert len(hard[-1].split()) > 300
    assert len(set(hard)) == len(hard)
    for script in ("CJK", "ARABIC", "DEVANAGARI", "THAI", "GREEK", "CYRILLIC", "HANGUL", "HEBREW"):
        assert any(unicodedata.name(letter, "").startswith(script) for letter in joined), script
    for trouble in ("\u200d", "\x00", "[SEP]", "</s>", "<|endoftext|>", "\r\n", "https://", "é", "e\u0301"):
        assert trouble in joined, repr(trouble)


def test_pairs_are_two_texts_each():
    assert len(texts.pairs()) >= 24
    assert all(query and document for query, document in texts.pairs())
    assert not any("\t" in document for _, document in texts.pairs())
    queries = [query for query, _ in texts.pairs()]
    assert len(set(queries)) < len(queries), "no query has two documents to rank"


def test_texts_are_read_once():
    assert texts.sentences() is texts.sentences()
