"""Small real tokenizers, one of every kind that pooling models ship with, in one table.

Each has the quirks of its big namesake: special tokens and their ids, pair template, normaliser,
padding side. What differs between kinds is data; how pieces are learnt is in ``tiny_vocab``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, processors

from ..poolers.errors import ConfigError, closest
from . import tiny_vocab


@dataclass(frozen=True, kw_only=True)
class TokenizerKind:
    """What makes one kind of tokenizer.

    Attributes:
        build: makes vocabulary, normaliser and pre-tokenizer from the tokens around the pieces.
        before, after: special tokens with the lowest and the highest ids, in order.
        roles: what each special token is for, by the names of ``special_tokens_map.json``.
        single, pair: post-processor templates; ``None`` for RoBERTa's own post-processor.
        byte_level: run the byte-level post-processor before the template.
        padding_side: the side ``transformers`` pads on by default.
        tokenizer_class: the name in ``tokenizer_config.json``. transformers 5 rebuilds Qwen's
            tokenizers from their class whatever is named, and reads the others as they are.
        token_type_ids: whether the model takes segment ids.
    """

    build: Callable[[Sequence[str], Sequence[str], str | None], Tokenizer]
    roles: Mapping[str, str]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    single: str | None = "$A"
    pair: str = "$A $B"
    byte_level: bool = False
    padding_side: str = "right"
    tokenizer_class: str = "PreTrainedTokenizerFast"
    token_type_ids: bool = False


def _roles(**tokens: str) -> dict[str, str]:
    return {f"{role}_token": token for role, token in tokens.items()}


_BERT = TokenizerKind(
    build=tiny_vocab.wordpiece,
    roles=_roles(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]"),
    before=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    single="[CLS] $A [SEP]",
    pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    token_type_ids=True,
)
_ROBERTA_ROLES = _roles(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>", cls="<s>", mask="<mask>")
_QWEN = TokenizerKind(
    build=tiny_vocab.qwen_bpe,
    roles=_roles(eos="<|endoftext|>", pad="<|endoftext|>"),
    after=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    byte_level=True,
    tokenizer_class="Qwen2Tokenizer",
)

TOKENIZERS: dict[str, TokenizerKind] = {
    "bert": _BERT,
    "distilbert": replace(_BERT, token_type_ids=False),
    "mpnet": TokenizerKind(
        build=tiny_vocab.wordpiece,
        roles={**_ROBERTA_ROLES, "unk_token": "[UNK]"},
        before=("<s>", "<pad>", "</s>", "<unk>", "[UNK]"),
        after=("<mask>",),
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
    ),
    "roberta": TokenizerKind(
        build=tiny_vocab.byte_bpe,
        roles=_ROBERTA_ROLES,
        before=("<s>", "<pad>", "</s>", "<unk>"),
        after=("<mask>",),
        single=None,
    ),
    "xlm-roberta": TokenizerKind(
        build=tiny_vocab.unigram,
        roles=_ROBERTA_ROLES,
        before=("<s>", "<pad>", "</s>", "<unk>"),
        after=("<mask>",),
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
    ),
    # The end token has the highest id, which older configs rely on, and pads.
    "clip": TokenizerKind(
        build=tiny_vocab.clip_bpe,
        roles=_roles(bos="<|startoftext|>", eos="<|endoftext|>", unk="<|endoftext|>", pad="<|endoftext|>"),
        after=("<|startoftext|>", "<|endoftext|>"),
        single="<|startoftext|> $A <|endoftext|>",
        pair="<|startoftext|> $A <|endoftext|> <|endoftext|> $B <|endoftext|>",
        tokenizer_class="CLIPTokenizer",
    ),
    # Special ids at the end of the vocabulary: a pad id of 0 would be an ordinary byte.
    "modernbert": TokenizerKind(
        build=tiny_vocab.normalized_byte_bpe,
        roles=_BERT.roles,
        after=("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
    ),
    "qwen2": _QWEN,
    # Like Qwen3-Embedding: the appended end token is also the pad token, and padding goes left.
    "qwen3": replace(
        _QWEN,
        single="$A <|endoftext|>",
        pair="$A <|endoftext|> $B:1 <|endoftext|>:1",
        padding_side="left",
    ),
    "llama": TokenizerKind(
        build=tiny_vocab.llama_bpe,
        roles=_roles(bos="<s>", eos="</s>", unk="<unk>", pad="<pad>"),
        before=("<unk>", "<s>", "</s>"),
        after=("<pad>",),
        single="<s> $A",
        pair="<s> $A <s>:1 $B:1",
    ),
    "gemma": TokenizerKind(
        build=tiny_vocab.gemma_bpe,
        roles=_roles(bos="<bos>", eos="<eos>", unk="<unk>", pad="<pad>"),
        before=("<pad>", "<eos>", "<bos>", "<unk>"),
        single="<bos> $A",
        pair="<bos> $A <bos>:1 $B:1",
    ),
    "t5": TokenizerKind(
        build=tiny_vocab.unigram,
        roles=_roles(eos="</s>", unk="<unk>", pad="<pad>"),
        before=("<pad>", "</s>", "<unk>"),
        single="$A </s>",
        pair="$A </s> $B </s>",
    ),
}


def _post_processor(kind: TokenizerKind, tokenizer: Tokenizer) -> processors.PostProcessor:
    vocab = tokenizer.get_vocab()
    ids = {token: vocab[token] for token in (*kind.before, *kind.after)}
    if kind.single is None:
        sep, cls = kind.roles["sep_token"], kind.roles["cls_token"]
        return processors.RobertaProcessing((sep, ids[sep]), (cls, ids[cls]), add_prefix_space=False)
    # Always one, even when it adds nothing: transformers writes its own where there is none.
    template = processors.TemplateProcessing(single=kind.single, pair=kind.pair, special_tokens=list(ids.items()))
    if kind.byte_level:
        return processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return template


def _kind(name: str) -> TokenizerKind:
    if name not in TOKENIZERS:
        raise ConfigError(f"unknown tokenizer kind {name!r}{closest(name, TOKENIZERS)}")
    return TOKENIZERS[name]


@cache
def _tokenizer_json(name: str) -> str:
    kind = _kind(name)
    tokenizer = kind.build(kind.before, kind.after, kind.roles.get("unk_token"))
    # Mask tokens of the RoBERTa line swallow the space before them.
    tokenizer.add_special_tokens(
        [AddedToken(token, lstrip=token == "<mask>", special=True) for token in (*kind.before, *kind.after)]
    )
    tokenizer.post_processor = _post_processor(kind, tokenizer)
    return tokenizer.to_str(pretty=True)


def build_tokenizer(name: str) -> Tokenizer:
    """Return a fresh tokenizer of one kind: the same vocabulary every time, no padding, no truncation.

    Raises:
        ConfigError: unknown kind.
    """
    return Tokenizer.from_str(_tokenizer_json(name))


def special_ids(name: str) -> dict[str, int]:
    """Return the ids a model's ``config.json`` must agree with, by role (``pad``, ``eos``, ``cls``).

    Raises:
        ConfigError: unknown kind.
    """
    vocab = build_tokenizer(name).get_vocab()
    return {role.removesuffix("_token"): vocab[token] for role, token in _kind(name).roles.items()}


def write_tokenizer(folder: Path, name: str, *, max_length: int) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json`` into ``folder``.

    Raises:
        ConfigError: unknown kind.
    """
    kind = _kind(name)
    inputs = ["input_ids", *(["token_type_ids"] if kind.token_type_ids else []), "attention_mask"]
    config = {
        "tokenizer_class": kind.tokenizer_class,
        "model_max_length": max_length,
        "padding_side": kind.padding_side,
        "model_input_names": inputs,
        "clean_up_tokenization_spaces": False,
        **kind.roles,
    }
    files = {
        "tokenizer.json": _tokenizer_json(name),
        "tokenizer_config.json": json.dumps(config, indent=2),
        "special_tokens_map.json": json.dumps(dict(kind.roles), indent=2),
    }
    for file_name, text in files.items():
        (folder / file_name).write_text(text + "\n", encoding="utf-8")
