from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from pool_export.export.text_input.characters import Characters, every_character, read_characters


@pytest.fixture(scope="module")
def uncased(minilm_folder: Path) -> Characters:
    return read_characters(Tokenizer.from_file(str(minilm_folder / "tokenizer.json")))


def test_every_character_is_asked_and_no_surrogate():
    letters = every_character()
    assert len(letters) == 0x110000 - 0x800
    assert "\ud800" not in letters


def test_an_uncased_tokenizer_of_bert(uncased: Characters):
    assert {"\0", "\x07", "\u200b", "\ufffd", "\ue000", "\u0301"} <= uncased.deleted
    assert {"\t", "\n", "\u00a0", "\u3000"} <= uncased.spaces
    assert {"\u4eba", "\U00020000"} <= uncased.padded
    assert (uncased.mapped["É"], uncased.mapped["\uac00"]) == ("e", "\u1100\u1161")
    assert {"[", "$", "\u2026", "\u3002"} <= uncased.alone
    assert not {"a", "7", "\u3042"} & (
        uncased.deleted | uncased.spaces | uncased.padded | uncased.alone | set(uncased.mapped)
    )


def test_a_cased_tokenizer_keeps_letters(tiny_folder: Any):
    content = json.loads((tiny_folder("bert", layers=1) / "tokenizer.json").read_text("utf-8"))
    content["normalizer"].update(lowercase=False, strip_accents=False)
    cased = read_characters(Tokenizer.from_str(json.dumps(content)))
    assert cased.mapped == {}
    assert "\u0301" not in cased.deleted
