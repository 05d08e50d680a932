from __future__ import annotations

import re

from pool_export.export.text_input.nodes import character_class, literally


def test_characters_are_written_as_ranges():
    assert character_class({"a"}) == r"[\x{61}-\x{61}]"
    assert character_class(set("cabx")) == r"[\x{61}-\x{63}\x{78}-\x{78}]"
    assert character_class({"\0", "\U0010ffff"}) == r"[\x{0}-\x{0}\x{10ffff}-\x{10ffff}]"


def test_a_literal_matches_itself_alone():
    for text in ("[SEP]", "<|endoftext|>", "a.b*c", "<s>", "back\\slash"):
        assert re.fullmatch(literally(text), text)
        assert not re.fullmatch(literally(text), text + "x")
    assert not re.fullmatch(literally("a.b"), "axb")
