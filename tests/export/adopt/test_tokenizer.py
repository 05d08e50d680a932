"""The tokenizer is taken as it lies there, where the files beside it agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pool_export.export.adopt.tokenizer import AdoptedTokenizer, valid_id
from pool_export.export.errors import SourceError
from pool_export.export.request import ExportRequest
from pool_export.export.source import Source, read_source
from pool_export.runtime.chat_template import ChatTemplate, read_chat_template, read_special_tokens

from .conftest import edit_json

Toy = Callable[..., Path]


def source_of(folder: Path) -> Source:
    return read_source(ExportRequest(model=str(folder)), folder, "")


def test_no_tokenizer_json_is_refused_by_what_is_there(toy: Toy) -> None:
    folder = toy()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match=r"has no tokenizer; expected tokenizer\.json"):
        AdoptedTokenizer(source_of(folder))
    (folder / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(SourceError, match=r"has only vocab\.txt; expected tokenizer\.json"):
        AdoptedTokenizer(source_of(folder))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(SourceError, match=r"tokenizer\.json cannot be read"):
        AdoptedTokenizer(source_of(folder))


@pytest.mark.parametrize("stated", [True, False])
def test_a_case_setting_that_contradicts_the_normalizer_is_refused(stated: bool, toy: Toy) -> None:
    folder = toy()  # its normalizer lower-cases
    edit_json(folder / "tokenizer_config.json", do_lower_case=stated, tokenizer_class="BertTokenizer")
    if stated:
        assert AdoptedTokenizer(source_of(folder)).names["pad_token"] == "[PAD]"
        return
    # transformers follows the setting and not the file, so the two give other ids.
    assert (
        AutoTokenizer.from_pretrained(folder)("Hello")["input_ids"]
        != AutoTokenizer.from_pretrained(folder)("hello")["input_ids"]
    )
    with pytest.raises(
        SourceError, match=r"says do_lower_case=false and the normalizer of tokenizer\.json says lowercase=true"
    ):
        AdoptedTokenizer(source_of(folder))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"add_eos_token": True}, r"says add_eos_token=true, and tokenizer\.json leaves out \[unused\]"),
        ({"add_bos_token": False, "bos_token": "[CLS]"}, r"says add_bos_token=false, and tokenizer\.json adds \[CLS\]"),
        ({"add_eos_token": True, "eos_token": "[SEP]"}, ""),
        ({"add_eos_token": True, "eos_token": None}, ""),
        ({"add_eos_token": True, "tokenizer_class": "PreTrainedTokenizerFast"}, ""),
    ],
)
def test_marker_settings_are_compared_with_what_a_text_gets(settings: dict[str, Any], message: str, toy: Toy) -> None:
    folder = toy()
    edit_json(folder / "special_tokens_map.json", eos_token=None, bos_token=None)
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    content["added_tokens"].append(
        {"id": 4000, "content": "[unused]", "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    )
    (folder / "tokenizer.json").write_text(json.dumps(content))
    given = {"tokenizer_class": "LlamaTokenizer", "eos_token": "[unused]", **settings}
    edit_json(folder / "tokenizer_config.json", **given)
    if message:
        with pytest.raises(SourceError, match=message):
            AdoptedTokenizer(source_of(folder))
    else:
        assert AdoptedTokenizer(source_of(folder)).content["truncation"] is None


def test_what_is_written_carries_neither_padding_nor_truncation(toy: Toy, tmp_path: Path) -> None:
    folder = toy()
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    content["truncation"] = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "vocab.txt").write_text("[PAD]\n")
    edit_json(folder / "special_tokens_map.json", pad_token={"content": "[PAD]", "lstrip": False})
    (tmp_path / "out").mkdir()
    AdoptedTokenizer(source_of(folder)).write(tmp_path / "out", source_of(folder), 64)
    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "out").iterdir()}
    assert json.loads(written["tokenizer.json"])["truncation"] is None
    assert json.loads(written["tokenizer_config.json"])["model_max_length"] == 64
    assert json.loads(written["special_tokens_map.json"])["pad_token"] == "[PAD]"
    assert written["vocab.txt"] == "[PAD]\n"


def test_lower_casing_of_sentence_transformers_becomes_a_normalizer(toy: Toy) -> None:
    folder = toy()
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32, "do_lower_case": true}')
    steps = AdoptedTokenizer(source_of(folder)).content["normalizer"]["normalizers"]
    assert [step["type"] for step in steps] == ["Lowercase", "BertNormalizer"]


def test_the_pad_id_is_a_row_of_the_table() -> None:
    assert valid_id((None, 7), 10) == 7
    assert valid_id((12, 7), 10) == 7
    assert valid_id((12, None), 10) == 0
    assert valid_id((12,), 0) == 12  # the table's size is unknown


def test_a_chat_template_comes_along(toy: Toy, tmp_path: Path) -> None:
    folder = toy()
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    AdoptedTokenizer(source_of(folder)).write(tmp_path, source_of(folder), 16)
    assert read_chat_template(tmp_path) == ChatTemplate("{{ messages[0].content }}", read_special_tokens(tmp_path))
    assert read_special_tokens(tmp_path)["cls_token"] == "[CLS]"
