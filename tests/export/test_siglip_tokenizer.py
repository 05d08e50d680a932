"""SigLIP's tokenizer: the converted file against the class, text by text."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pool_export.export.errors import SourceError
from pool_export.export.siglip_tokenizer import fast_form
from pool_export.models_zoo.texts import hard_texts, pairs, sentences

ODD = (
    "",
    " ",
    "!",
    " lead and trail ",
    "A photo, of two CATS!",
    "don't stop-it",
    "a\x1cb\u00a0c\td",
    "▁x ▁ y",
    "x</s>y",
    "a </s> b",
    "<unk><unk> x",
    "</s>",
    "ends</s>",
    "ﬁne １２ İI ẞ …",
)


@pytest.fixture(scope="module")
def slow(vision_folder: Any) -> Any:
    return AutoTokenizer.from_pretrained(vision_folder("siglip"))


@pytest.fixture(scope="module")
def fast(slow: Any) -> Any:
    return fast_form(slow)


def test_every_text_has_the_ids_of_the_class(slow: Any, fast: Any):
    texts = [*hard_texts(), *sentences(), *(text for pair in pairs() for text in pair), *ODD]
    options = {"padding": "max_length", "truncation": True, "max_length": 64}
    assert not slow.is_fast
    for text in texts:
        assert fast(text, **options)["input_ids"] == slow(text, **options)["input_ids"], text


def test_a_long_text_keeps_its_end_token(slow: Any, fast: Any):
    text = "a long text " * 50
    row = fast(text, truncation=True, max_length=64)["input_ids"]
    assert row == slow(text, truncation=True, max_length=64)["input_ids"]
    assert row[-1] == slow.eos_token_id


def test_the_file_alone_gives_the_same_ids(slow: Any, fast: Any, tmp_path: Any):
    fast.save_pretrained(tmp_path)
    shipped = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    shipped.no_padding()
    shipped.no_truncation()
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in hard_texts():
        wanted = slow(text)["input_ids"]
        assert shipped.encode(text).ids == wanted
        assert again(text)["input_ids"] == wanted
    assert (again.pad_token_id, again.eos_token_id, again.model_max_length) == (1, 1, 64)


def test_the_class_is_kept_for_the_gate(slow: Any, fast: Any):
    assert fast.original is slow


def test_other_tokenizers_are_left_alone(tiny_folder: Any):
    assert fast_form(AutoTokenizer.from_pretrained(tiny_folder("bert", layers=1))) is None


def test_another_kind_of_sentencepiece_is_refused(slow: Any, monkeypatch: pytest.MonkeyPatch):
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(slow.sp_model.serialized_model_proto())
    proto.trainer_spec.model_type = 2
    changed = proto.SerializeToString()
    monkeypatch.setattr(slow.sp_model, "serialized_model_proto", lambda: changed, raising=False)
    with pytest.raises(SourceError, match="expected a Unigram sentencepiece model"):
        fast_form(slow)
