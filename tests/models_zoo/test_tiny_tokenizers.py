from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pool_export.models_zoo import texts, tiny, tiny_tokenizers
from pool_export.poolers.errors import ConfigError

KINDS = tuple(tiny_tokenizers.TOKENIZERS)
SINGLES = (*texts.sentences()[:40], *texts.hard_texts())
_DIGESTS = """
import hashlib
from pool_export.models_zoo import tiny_tokenizers as zoo
for kind in zoo.TOKENIZERS:
    print(kind, hashlib.sha256(zoo.build_tokenizer(kind).to_str().encode()).hexdigest())
"""
# Templates written out: kind -> tokens of the pair ("no", "yes"), space marks removed.
PAIRS = {
    "clip": "<|startoftext|> no</w> <|endoftext|> <|endoftext|> yes</w> <|endoftext|>",
    "bert": "[CLS] no [SEP] yes [SEP]",
    "distilbert": "[CLS] no [SEP] yes [SEP]",
    "mpnet": "<s> no </s> </s> yes </s>",
    "roberta": "<s> no </s> </s> yes </s>",
    "xlm-roberta": "<s> no </s> </s> yes </s>",
    "modernbert": "[CLS] no [SEP] yes [SEP]",
    "qwen2": "no yes",
    "qwen3": "no <|endoftext|> yes <|endoftext|>",
    "llama": "<s> no <s> yes",
    "gemma": "<bos> no <bos> yes",
    "t5": "no </s> yes </s>",
}


class Checkpoints(dict[str, Path]):
    """One checkpoint a family: transformers looks at the model's type before it reads a tokenizer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, family: str) -> Path:
        self[family] = tiny.write_tiny(self.folder / family, family)
        return self[family]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return Checkpoints(tmp_path_factory.mktemp("tokenizers"))


def _load(folder: Path) -> tuple[PreTrainedTokenizerBase, Tokenizer]:
    return AutoTokenizer.from_pretrained(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=() if name in tiny.FAMILIES else pytest.mark.slow) for name in tiny.ARCHITECTURES],
)
def test_transformers_reads_what_the_file_says(checkpoints: dict[str, Path], family: str):
    hugging, raw = _load(checkpoints[family])
    assert hugging.is_fast
    assert hugging(list(SINGLES))["input_ids"] == [raw.encode(text).ids for text in SINGLES]
    queries, documents = (list(side) for side in zip(*texts.pairs(), strict=True))
    encoded = hugging(queries, documents)
    expected = [raw.encode(*pair) for pair in texts.pairs()]
    assert encoded["input_ids"] == [one.ids for one in expected]
    if "token_type_ids" in encoded:
        assert encoded["token_type_ids"] == [one.type_ids for one in expected]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_only_bert_takes_segments(checkpoints: dict[str, Path], family: str):
    hugging, _ = _load(checkpoints[family])
    assert ("token_type_ids" in hugging("a", "b")) == (family == "bert")


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_config_agrees_with_the_tokenizer(checkpoints: dict[str, Path], family: str):
    hugging, raw = _load(checkpoints[family])
    config = json.loads((checkpoints[family] / "config.json").read_text())
    assert config["vocab_size"] == raw.get_vocab_size() == len(hugging)
    assert config["pad_token_id"] == hugging.pad_token_id is not None
    assert config.get("eos_token_id") == hugging.eos_token_id
    assert config.get("bos_token_id") == hugging.bos_token_id
    assert hugging.model_max_length == tiny.MAX_LENGTH


@pytest.mark.parametrize("kind", KINDS)
def test_pair_template(kind: str):
    encoding = tiny_tokenizers.build_tokenizer(kind).encode("no", "yes")
    assert " ".join(token.lstrip("▁Ġ") for token in encoding.tokens) == PAIRS[kind]


def test_bert_marks_the_second_text():
    assert tiny_tokenizers.build_tokenizer("bert").encode("no", "yes").type_ids == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_words_split_and_vocabulary_is_small(kind: str):
    tokenizer = tiny_tokenizers.build_tokenizer(kind)
    assert 300 <= tokenizer.get_vocab_size() <= 1000
    pieces = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts.sentences())
    words = sum(len(text.split()) for text in texts.sentences())
    assert 1.5 < pieces / words < 4


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_text_are_special(kind: str):
    tokenizer = tiny_tokenizers.build_tokenizer(kind)
    for role, token in tiny_tokenizers.TOKENIZERS[kind].roles.items():
        assert tiny_tokenizers.special_ids(kind)[role.removesuffix("_token")] in tokenizer.encode(f"no {token}").ids


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "qwen2", "qwen3", "llama", "gemma"])
def test_bytes_cover_every_script(kind: str):
    tokenizer = tiny_tokenizers.build_tokenizer(kind)
    unk = tiny_tokenizers.special_ids(kind).get("unk")
    for text in texts.hard_texts():
        if "<unk>" not in text:
            assert unk not in tokenizer.encode(text).ids
    assert tokenizer.decode(tokenizer.encode("ᚠ 猫 🙂").ids).strip() == "ᚠ 猫 🙂"


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "modernbert", "gemma"])
def test_rerankers_find_their_answer_words(kind: str):
    tokenizer = tiny_tokenizers.build_tokenizer(kind)
    for word in ("yes", "no", "Yes", "No"):
        assert len(tokenizer.encode(word, add_special_tokens=False).ids) == 1


def test_two_processes_learn_the_same_vocabularies():
    runs = {
        subprocess.run([sys.executable, "-c", _DIGESTS], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(runs) == 1
    assert len(runs.pop().splitlines()) == len(KINDS)


def test_a_tokenizer_is_the_callers_own():
    mine = tiny_tokenizers.build_tokenizer("bert")
    mine.enable_truncation(2)
    assert tiny_tokenizers.build_tokenizer("bert").truncation is None


def test_unknown_kind_suggests_one():
    with pytest.raises(ConfigError, match="unknown tokenizer kind 'brt'; did you mean 'bert'"):
        tiny_tokenizers.build_tokenizer("brt")
