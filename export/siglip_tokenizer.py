"""SigLIP's tokenizer as a ``tokenizer.json``: its class runs sentencepiece behind Python code and has no such form.

The steps of ``SiglipTokenizer``: lower-case, drop ASCII punctuation, collapse white space, a space in front of the text
and the end token behind it. The gate compares the result with the class itself, text by text. (A text that ends in
``</s>`` gets a second one here; padded with that token, as SigLIP's texts are, the two rows are the same.)
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .errors import SourceError

_SPACE = "▁"
_UNIGRAM = 1
_PRIVATE = 0xE000


def fast_form(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase | None:
    """Convert SigLIP's tokenizer; ``None`` for any other class.

    The class it came from is kept as ``original``, for ``check_tokenizer``.

    Raises:
        SourceError: its sentencepiece model is not a Unigram one.
    """
    if type(tokenizer).__name__ != "SiglipTokenizer":
        return None
    from sentencepiece import sentencepiece_model_pb2

    slow: Any = tokenizer
    messages: Any = sentencepiece_model_pb2  # its classes are made at run time
    proto = messages.ModelProto()
    proto.ParseFromString(slow.sp_model.serialized_model_proto())
    if proto.trainer_spec.model_type != _UNIGRAM or proto.trainer_spec.byte_fallback:
        raise SourceError("SiglipTokenizer: expected a Unigram sentencepiece model without byte fallback")
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    specials = [str(token) for _, token in sorted(slow.added_tokens_decoder.items()) if token.special]
    backend = Tokenizer(models.Unigram(pieces, unk_id=proto.trainer_spec.unk_id))
    backend.normalizer = normalizers.Sequence(_normalizers(slow.do_lower_case, proto.normalizer_spec, specials))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never")
    backend.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    backend.add_special_tokens([_added(token) for token in specials])
    end = str(slow.eos_token)
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, slow.eos_token_id)]
    )
    fast: Any = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=_added(str(slow.eos_token)),
        unk_token=_added(str(slow.unk_token)),
        pad_token=_added(str(slow.pad_token)),
        model_max_length=slow.model_max_length,
        padding_side=slow.padding_side,
        model_input_names=["input_ids"],
    )
    fast.original = tokenizer
    return fast  # type: ignore[no-any-return]


def _added(token: str) -> AddedToken:
    # Found after normalisation: the text is then normalised whole, and one space is put before its first word only.
    return AddedToken(token, normalized=True, special=True)


def _normalizers(lower: bool, spec: Any, specials: Sequence[str]) -> list[normalizers.Normalizer]:
    """The class's steps on the whole text; special tokens pass them as single private letters."""
    letters = dict(zip(specials, map(chr, range(_PRIVATE, _PRIVATE + len(specials))), strict=True))
    steps: list[normalizers.Normalizer] = [normalizers.Replace(token, letter) for token, letter in letters.items()]
    steps += [normalizers.Replace(_SPACE, " ")]
    steps += [normalizers.Lowercase()] if lower else []
    steps += [normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), "")]
    # Python's \s knows four separators more than the tokenizer's.
    steps += [normalizers.Replace(Regex(r"[\s\x1c-\x1f]+"), " "), normalizers.Strip()]
    if spec.precompiled_charsmap:
        steps += [normalizers.Precompiled(spec.precompiled_charsmap)]
    steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    steps += [normalizers.Replace(Regex(f" *{letter} *"), letter) for letter in letters.values()]
    steps += [normalizers.Prepend(_SPACE)]
    return steps + [normalizers.Replace(_SPACE + letter, letter) for letter in letters.values()]
