from __future__ import annotations

import unicodedata

from pool_export.models_zoo.fuzz_texts import fuzz_texts

SPECIALS = ["[CLS]", "[SEP]", "<mask>"]


def test_thousands_of_strings_of_every_class():
    corpus = fuzz_texts(SPECIALS)
    every = {text for texts in corpus.values() for text in texts}
    assert len(every) >= 5000
    assert min(len(texts) for name, texts in corpus.items() if name != "hard texts") >= 380
    assert {"accents", "CJK", "emoji", "control characters", "long words", "special tokens as text"} <= set(corpus)
    assert {"kinds of white space", "right to left", "combining marks", "digits", "punctuation"} <= set(corpus)


def test_the_classes_hold_what_they_say():
    corpus = fuzz_texts(SPECIALS)
    joined = {name: "".join(texts) for name, texts in corpus.items()}
    assert any(unicodedata.category(letter) == "Mn" for letter in joined["combining marks"])
    assert {"\0", "\u200b", "\ufeff"} <= set(joined["control characters"])
    assert {"\u00a0", "\u3000", "\u2028", "\t"} <= set(joined["kinds of white space"])
    assert max(map(len, "".join(corpus["long words"]).split())) > 200
    assert all(token in joined["special tokens as text"] for token in SPECIALS)
    assert any(unicodedata.bidirectional(letter) == "R" for letter in joined["right to left"])


def test_they_are_the_same_every_time_and_all_unicode():
    assert fuzz_texts(SPECIALS) == fuzz_texts(SPECIALS)
    assert "special tokens as text" not in fuzz_texts()
    for texts in fuzz_texts(SPECIALS).values():
        for text in texts:
            text.encode("utf-8")
