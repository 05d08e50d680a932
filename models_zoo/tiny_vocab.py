"""Builders of tiny tokenizers: WordPiece, byte-level BPE, BPE over ``▁``, and Unigram.

Every builder learns its pieces from the zoo's multilingual lines, gives the same bytes every time,
and numbers its vocabulary ``before + pieces + after``, so that the caller decides special ids.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .texts import tokenizer_texts

# The pattern of Qwen's own tokenizer class, which transformers puts back whatever the file says.
_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
# CLIP's, which its class puts back as well.
_CLIP_SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_WORD_END = "</w>"
# Few enough that ordinary English words split into several pieces.
_BYTE_PIECES = 256 + 380
_CLIP_PIECES = 256 + 220  # each of them twice: inside a word, and at its end
_LETTER_PIECES = 720
_WORD_PIECES = 520
_SPACE = "▁"


class _Learnt(NamedTuple):
    pieces: list[str]
    merges: list[tuple[str, str]]


def _training_lines() -> Iterator[str]:
    yield from tokenizer_texts()
    # Generative rerankers read the logits of these words, so each must be one token.
    for word in ("yes", "no", "Yes", "No", "true", "false"):
        for gap in ("", " "):
            yield from [gap + word] * 40


def _learn(
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    *,
    size: int,
    normalizer: normalizers.Normalizer | None = None,
    alphabet: Sequence[str] = (),
) -> _Learnt:
    # Plain BPE everywhere: the library's Unigram and WordPiece trainers break ties by hash order,
    # so that two runs give two vocabularies.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=list(alphabet)
    )
    tokenizer.train_from_iterator(_training_lines(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return _Learnt(pieces, [(left, right) for left, right in model["merges"]])


def _number(*groups: Sequence[str]) -> dict[str, int]:
    tokens = dict.fromkeys(token for group in groups for token in group)
    return {token: index for index, token in enumerate(tokens)}


def wordpiece(before: Sequence[str], after: Sequence[str], unk: str | None) -> Tokenizer:
    """Build a lower-casing WordPiece tokenizer, BERT's kind."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    learnt = _learn(pre_tokenizer, size=_WORD_PIECES, normalizer=normalizer).pieces
    lines = (normalizer.normalize_str(line) for line in _training_lines())
    words = {word for line in lines for word, _ in pre_tokenizer.pre_tokenize_str(line)}
    # A single letter must be able to start a word and to go on with one, or the whole word is unknown.
    starts = [piece for piece in learnt if len(piece) == 1 or any(word.startswith(piece) for word in words)]
    inside = [piece for piece in learnt if len(piece) == 1 or any(piece in word[1:] for word in words)]
    vocab = _number(before, starts, [f"##{piece}" for piece in inside], after)
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unk or "[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def byte_bpe(before: Sequence[str], after: Sequence[str], unk: str | None) -> Tokenizer:
    """Build a byte-level BPE tokenizer, RoBERTa's and GPT-2's kind; no text is ever unknown to it."""
    return _byte_bpe(before, after, pre_tokenizers.ByteLevel(add_prefix_space=False), None)


def normalized_byte_bpe(before: Sequence[str], after: Sequence[str], unk: str | None) -> Tokenizer:
    """Build a byte-level BPE tokenizer that composes accents first, ModernBERT's kind."""
    return _byte_bpe(before, after, pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC())


def qwen_bpe(before: Sequence[str], after: Sequence[str], unk: str | None) -> Tokenizer:
    """Build a byte-level BPE tokenizer that splits digits one by one, Qwen's kind."""
    split = pre_tokenizers.Split(Regex(_QWEN_SPLIT), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _byte_bpe(before, after, pre_tokenizers.Sequence([split, to_bytes]), normalizers.NFC())


def _byte_bpe(
    before: Sequence[str],
    after: Sequence[str],
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    normalizer: normalizers.Normalizer | None,
) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learnt = _learn(pre_tokenizer, size=_BYTE_PIECES, normalizer=normalizer, alphabet=alphabet)
    tokenizer = Tokenizer(models.BPE(_number(before, learnt.pieces, after), learnt.merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def clip_bpe(before: Sequence[str], after: Sequence[str], unk: str | None) -> Tokenizer:
    """Build a lower-casing byte-level BPE tokenizer that marks the end of a word, CLIP's kind."""
    split = pre_tokenizers.Split(Regex(_CLIP_SPLIT), behavior="removed", invert=True)
    pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learnt = _learn(pre_tokenizer, size=_CLIP_PIECES, normalizer=normalizer, alphabet=alphabet)
    # Learnt without the mark (the trainer numbers marked letters by hash order), then merged inside words and at their
    # ends alike.
    merges = [(left, right + end) for left, right in learnt.merges for end in ("", _WORD_END)]
    pieces = [*alphabet, *(letter + _WORD_END for letter in alphabet), *(left + right for left, right in merges)]
    model = models.BPE(
        _number(before, pieces, after), merges, unk_token=unk, end_of_word_suffix=_WORD_END, fuse_unk=False
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def llama_bpe(before: Sequence[str], after: Sequence[str], unk: str | None) -> Tokenizer:
    """Build a BPE tokenizer over ``▁`` with byte fallback and a space before the text, Llama 2's kind."""
    spaces = [normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)]
    tokenizer = _metaspace_bpe(before, after, unk, prepend="always")
    tokenizer.normalizer = normalizers.Sequence(spaces)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def gemma_bpe(before: Sequence[str], after: Sequence[str], unk: str | None) -> Tokenizer:
    """Build a BPE tokenizer over ``▁`` with byte fallback that adds no space, Gemma's kind."""
    tokenizer = _metaspace_bpe(before, after, unk, prepend="never")
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _metaspace_bpe(before: Sequence[str], after: Sequence[str], unk: str | None, *, prepend: str) -> Tokenizer:
    learnt = _learn(pre_tokenizers.Metaspace(prepend_scheme=prepend), size=_LETTER_PIECES)
    vocab = _number(before, [f"<0x{byte:02X}>" for byte in range(256)], learnt.pieces, after)
    return Tokenizer(models.BPE(vocab, learnt.merges, unk_token=unk, fuse_unk=True, byte_fallback=True))


def unigram(before: Sequence[str], after: Sequence[str], unk: str | None) -> Tokenizer:
    """Build a Unigram tokenizer over ``▁``, the kind of T5 and XLM-RoBERTa; ``unk`` must be in ``before``."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    learnt = _learn(pre_tokenizer, size=_LETTER_PIECES, normalizer=normalizer).pieces
    words = (word for line in _training_lines() for word in normalizer.normalize_str(line).split())
    text = "".join(_SPACE + word for word in words)
    counts = {piece: max(text.count(piece), 1) for piece in learnt}
    total = sum(counts.values())
    # Rounded, so that the file does not depend on the platform's logarithm.
    scored = [(piece, round(math.log(count / total), 4)) for piece, count in counts.items()]
    specials = [[(token, 0.0) for token in group] for group in (before, after)]
    vocab = [*specials[0], *scored, *specials[1]]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=list(before).index(unk or "<unk>")))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer
