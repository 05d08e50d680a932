"""WordPiece in the graph, for tokenizers with BERT's normaliser and splitter.

onnxruntime-extensions has a BertTokenizer of its own, but it answers other ids than Hugging Face's for every third
string of the check: its tables of characters are others, it keeps the known beginning of a word whose end is
unknown, and special tokens in a text are words to it. So the steps are nodes here: character tables out of the
tokenizer itself (``characters.py``) as regular expressions and mappings, its WordpieceTokenizer for the longest
match alone, and standard operators that make a word with an unknown end unknown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from tokenizers import Tokenizer

from ..errors import ExportError
from .characters import NUL, Characters, every_character, read_characters
from .nodes import CUSTOM_DOMAIN, TextBuilder, character_class, literally

# The operator's own limit counts bytes and is checked elsewhere; ours counts characters, as Hugging Face's does.
_NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class _Specials:
    """Special tokens that may stand in a text, and the letters that stand for them inside the graph.

    ``stranger`` is a letter that the vocabulary does not know; it stands for itself and for the other letters where
    a text has one of them, which makes the same unknown word.
    """

    letters: dict[str, str]
    stranger: str


def wordpiece_ids(build: TextBuilder, text: ir.Value, tokenizer: Tokenizer, most: int) -> ir.Value:
    """Add the nodes from a text to its token ids, no special tokens around them.

    Args:
        build: collects the nodes.
        text: string ``[1]``.
        tokenizer: the bundle's.
        most: ids to keep.

    Returns:
        int64 ``[number of ids]``.

    Raises:
        ExportError: a part of the tokenizer that these nodes cannot represent.
    """
    model = json.loads(tokenizer.to_str())
    _require_bert(model)
    characters = read_characters(tokenizer)
    specials = _specials(model, tokenizer, characters)
    text = _normalised(build, _marked(build, text, specials), characters)
    if characters.alone:
        text = build.replace(text, f"({character_class(characters.alone)})", r" \1 ")
    words = _words(build, text, specials.stranger, most, int(model["model"]["max_input_chars_per_word"]))
    return _pieces(build, words, model["model"], tokenizer, specials, most)


def _require_bert(model: dict[str, Any]) -> None:
    for part, kinds in (("normalizer", ("BertNormalizer",)), ("pre_tokenizer", ("BertPreTokenizer",))):
        if (found := (model.get(part) or {}).get("type")) not in kinds:
            raise ExportError(
                f"--text-input: a WordPiece tokenizer with {part} {found} is not known, expected {kinds[0]}"
            )
    if not model["normalizer"].get("clean_text"):
        raise ExportError("--text-input: a tokenizer that keeps control characters (clean_text=false) is not known")


def _specials(model: dict[str, Any], tokenizer: Tokenizer, characters: Characters) -> _Specials:
    added = model.get("added_tokens") or []
    odd = [token["content"] for token in added if token["normalized"] or token["single_word"]]
    if odd:
        raise ExportError(
            f"--text-input: added tokens that match normalised text, or whole words only, are not known: {odd[:3]}"
        )
    texts = [token["content"] for token in added]
    clashes = [(a, b) for a in texts for b in texts if a is not b and _overlap(a, b)]
    if clashes:
        raise ExportError(f"--text-input: special tokens that can overlap in a text are not known: {clashes[0]}")
    free = _free_letters(len(texts) + 1, tokenizer, characters)
    return _Specials(dict(zip(texts, free[1:], strict=True)), free[0])


def _overlap(first: str, second: str) -> bool:
    return second in first or any(first.endswith(second[:size]) for size in range(1, len(second)))


def _free_letters(count: int, tokenizer: Tokenizer, characters: Characters) -> list[str]:
    """Letters that nothing happens to and that no entry of the vocabulary has."""
    used = set("".join(tokenizer.get_vocab()))
    touched = (
        used | characters.deleted | characters.spaces | characters.padded | characters.alone | set(characters.mapped)
    )
    free = [letter for letter in every_character() if ord(letter) > 0x10000 and letter not in touched]
    if len(free) < count:
        raise ExportError(f"--text-input: no {count} characters are free of the vocabulary")
    return free[:count]


def _marked(build: TextBuilder, text: ir.Value, specials: _Specials) -> ir.Value:
    """Put a letter, as a word, where a special token stands; drop NUL, which ends a string for the custom operators."""
    parts = build.ops("StringSplit", text, count=2, delimiter=NUL)[0]
    text = build.join(parts, axis=1)
    text = build.replace(text, character_class(specials.letters.values() or [specials.stranger]), specials.stranger)
    for token, letter in specials.letters.items():
        text = build.replace(text, literally(token), f" {letter} ")
    # So that there always is a word.
    return build.op("StringConcat", text, build.words(f" {specials.stranger}"))


def _normalised(build: TextBuilder, text: ir.Value, characters: Characters) -> ir.Value:
    if characters.deleted:
        text = build.replace(text, character_class(characters.deleted), "")
    text = build.replace(text, character_class(characters.spaces | {" "}), " ")
    if characters.padded:
        text = build.replace(text, f"({character_class(characters.padded)})", r" \1 ")
    if not characters.mapped:
        return text
    every = build.words("(?s)(.)")
    letters = build.ops("StringRegexSplitWithOffsets", text, every, every, count=4, domain=CUSTOM_DOMAIN)[0]
    table = "\n".join(f"{letter}\t{became}" for letter, became in characters.mapped.items())
    return build.join(build.custom("StringMapping", letters, map=table))


def _words(build: TextBuilder, text: ir.Value, stranger: str, most: int, longest: int) -> ir.Value:
    """Split at spaces; each word is one id at least, so the first ``most`` are enough. A stranger follows the last."""
    words = build.op("Reshape", build.ops("StringSplit", text, count=2)[0], build.integer([-1]))
    words = build.part_of(build.part_of(words, 0, -1), 0, most)
    words = build.op("Concat", words, build.words(stranger), axis=0)
    return build.replace(words, f"^.{{{longest + 1},}}$", stranger)


def _pieces(
    build: TextBuilder,
    words: ir.Value,
    model: dict[str, Any],
    tokenizer: Tokenizer,
    specials: _Specials,
    most: int,
) -> ir.Value:
    """Longest matches, as ids; a word whose end is unknown is unknown as a whole."""
    ids_of = tokenizer.get_vocab()
    unknown = ids_of[model["unk_token"]]
    vocabulary = {**model["vocab"], **{letter: ids_of[token] for token, letter in specials.letters.items()}}
    count = build.op("Size", words)
    starts = build.op("Range", build.integer(0), build.op("Add", count, build.integer(1)), build.integer(1))
    pieces, ends, *_ = build.ops(
        "WordpieceTokenizer",
        words,
        starts,
        count=4,
        domain=CUSTOM_DOMAIN,
        vocab=json.dumps(vocabulary),
        suffix_indicator=model["continuing_subword_prefix"],
        unknown_token=model["unk_token"],
        max_input_chars_per_word=_NO_LIMIT,
    )
    ids = build.labels(pieces, vocabulary, unknown)
    # A piece may be spelled like the unknown token only where it is that: the splitter takes brackets off words.
    first, last = build.part_of(ends, 0, -1), build.op("Sub", build.part_of(ends, 1, 2**31), build.integer(1))
    is_lost = build.op("Equal", build.op("Gather", ids, last), build.integer(unknown))
    begins = build.op("ScatterElements", _zeros(build, ids), first, _ones(build, first), axis=0)
    word = build.op("Sub", build.op("CumSum", begins, build.integer(0)), build.integer(1))
    lost = build.op("Gather", is_lost, word)
    ids = build.op("Where", lost, build.integer(unknown), ids)
    kept = build.op("Or", build.op("Not", lost), build.cast(begins, ir.DataType.BOOL))
    ids = build.op("Compress", ids, kept, axis=0)
    return build.part_of(build.part_of(ids, 0, -1), 0, most)


def _zeros(build: TextBuilder, like: ir.Value) -> ir.Value:
    return build.op("Sub", like, like)


def _ones(build: TextBuilder, like: ir.Value) -> ir.Value:
    return build.op("Add", _zeros(build, like), build.integer(1))
