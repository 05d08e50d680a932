from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from pool_export.models_zoo.texts import hard_texts, sentences
from pool_export.models_zoo.tiny_tokenizers import build_tokenizer
from pool_export.runtime.errors import InputError
from pool_export.runtime.manifest import TokenizerPolicy
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.shared_first import encode_shared, joins_exactly, share_their_first
from pool_export.runtime.tokens import Text, TextTokenizer

# WordPiece, byte-level BPE with a template, RoBERTa's own post-processor, Unigram, SentencePiece BPE.
KINDS = ("bert", "qwen2", "qwen3", "roberta", "xlm-roberta", "gemma", "gpt2", "no post-processor")
TEXTS = st.sampled_from(["", " ", "▁a", "[SEP] </s>", *hard_texts(), *sentences()]) | st.text(max_size=30)


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    if kind not in KINDS[-2:]:
        return build_tokenizer(kind)
    tokenizer = build_tokenizer("qwen2")
    if kind == "gpt2":
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
        return tokenizer
    return Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()), "post_processor": None}))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(KINDS),
    TEXTS,
    st.lists(TEXTS, min_size=2, max_size=4),
    st.booleans(),
    st.none() | st.integers(4, 40),
    st.sampled_from(["left", "right"]),
)
def test_joining_gives_what_encoding_the_pairs_gives(
    kind: str, query: str, documents: list[str], special: bool, limit: int | None, side: str
):
    plain = tokenizer_of(kind)
    joining = Tokenizer.from_str(plain.to_str())
    if limit is not None:
        joining.enable_truncation(limit, strategy="longest_first", direction=side)
    pairs = [(query, document) for document in documents]
    want = joining.encode_batch_fast(pairs, add_special_tokens=special)
    got = encode_shared(plain, joining, pairs, special)
    assert [item.ids for item in got] == [item.ids for item in want]
    assert [item.type_ids for item in got] == [item.type_ids for item in want]
    assert [bool(item.overflowing) for item in got] == [bool(item.overflowing) for item in want]


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_trusts_every_kind(kind: str):
    assert joins_exactly(tokenizer_of(kind))


def _doubled() -> Tokenizer:
    """A single text is written twice, so that it is not what stands in a pair."""
    tokenizer = build_tokenizer("bert")
    specials = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A $A", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=specials
    )
    return tokenizer


def test_a_tokenizer_that_cannot_join_encodes_its_pairs(tmp_path: Path):
    tokenizer = _doubled()
    assert not joins_exactly(tokenizer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = TextTokenizer(tmp_path / "tokenizer.json", TokenizerPolicy(max_length=64))
    got = ours.encode([Prompt(text="a query", pair=text) for text in ("one", "two")], [None, None])
    want = tokenizer.encode_batch([("a query", "one"), ("a query", "two")])
    assert [(item.ids, item.type_ids) for item in got] == [(item.ids, item.type_ids) for item in want]


@pytest.mark.parametrize(
    ("texts", "shared"),
    [
        ([("q", "a"), ("q", "b")], True),
        ([("q", "a"), ("r", "b"), ("q", "c")], True),
        ([("q", "a"), ("r", "b")], False),
        ([("q", "a")], False),
        ([("q", "a"), ("q", "b"), "q"], False),
        ([], False),
    ],
)
def test_only_pairs_with_a_common_first_text_are_joined(texts: list[Text], shared: bool):
    assert share_their_first(texts) is shared


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """Return the (distinct first texts, second texts) of every join."""
    seen: list[tuple[list[str], list[str]]] = []

    def spy(plain: Tokenizer, joining: Tokenizer, pairs: list[tuple[str, str]], special: bool) -> object:
        seen.append((sorted({first for first, _ in pairs}), [second for _, second in pairs]))
        return encode_shared(plain, joining, pairs, special)

    monkeypatch.setattr("pool_export.runtime.tokens.encode_shared", spy)
    return seen


def test_the_pairs_of_one_query_are_joined_at_every_truncation(
    tiny_llm: Callable[..., object], counted: list[tuple[list[str], list[str]]]
):
    tokenizer = tiny_llm("bert", "sequence_1").engine.tokenizer  # type: ignore[attr-defined]
    documents = ["one document", "another document of more words", ""]
    prompts = [Prompt(text="which document", pair=text) for text in documents]
    for limit in (None, -1, 8):
        shared = tokenizer.encode(prompts, [limit] * 3)
        alone = [tokenizer.encode([prompt], [limit])[0] for prompt in prompts]
        assert shared == alone
        assert shared[1].truncated is (limit == 8)
    assert counted == [(["which document"], documents)] * 3


def test_half_a_surrogate_pair_in_a_document_is_refused_in_our_words(tiny_llm: Callable[..., object]):
    tokenizer = tiny_llm("bert", "sequence_1").engine.tokenizer  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="half a surrogate pair"):
        tokenizer.encode([Prompt(text="q", pair="a"), Prompt(text="q", pair="\ud800")], [None, None])
