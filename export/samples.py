"""Inputs of the parity gate and of ``golden.json``: zoo texts, pairs, and exact lengths up to the limit."""

from __future__ import annotations

from dataclasses import dataclass

from ..models_zoo.texts import hard_texts, pairs, sentences
from ..poolers.parts import INPUT_TYPES
from ..poolers.spec import PoolingSpec
from ..runtime.late import encode_texts
from ..runtime.prompts import Prompt
from ..runtime.tokens import Encoded, TextTokenizer

# Beyond this a CPU reference run takes minutes; the report says how long the longest text was.
_LONGEST_VERIFIED = 512
_SENTENCES = 16
_PAIRS = 8
_LENGTHS = (1, 2, 3, 5, 8, 16, 31, 64, 127, 256, 512)


@dataclass(frozen=True)
class Sample:
    """One input: how it was given, and its tokens."""

    prompt: Prompt
    encoded: Encoded


def verified_length(tokenizer: TextTokenizer) -> int:
    """Most tokens of a sample: the model's limit, or less where that would take too long."""
    return min(tokenizer.max_length, _LONGEST_VERIFIED)


def parity_samples(tokenizer: TextTokenizer, spec: PoolingSpec) -> list[Sample]:
    """Build the gate's inputs.

    Texts are truncated to the limit; a text that tokenizes to nothing (an empty string under a
    tokenizer without special tokens) is left out, because the runtime refuses it.
    """
    prompts = [Prompt(text=text) for text in (*hard_texts(), *sentences()[:_SENTENCES])]
    if spec.convert == "classify":
        prompts += [Prompt(text=query, pair=document) for query, document in pairs()[:_PAIRS]]
    limit = verified_length(tokenizer)
    samples = []
    for prompt in prompts:
        if prompt.text == "" and not tokenizer.count(prompt):
            continue
        (encoded,) = tokenizer.encode([prompt], [limit])
        samples.append(Sample(prompt, encoded))
    return samples + _sides(tokenizer, spec, limit) + _by_length(samples, limit)


def _sides(tokenizer: TextTokenizer, spec: PoolingSpec, limit: int) -> list[Sample]:
    """Texts as late interaction reads queries and documents: markers, expansion, declared lengths."""
    if spec.late_interaction is None or not spec.is_token_level:
        return []
    prompts = [Prompt(text=text) for text in (*hard_texts(), *sentences()[:_SENTENCES])]
    samples = []
    for side in INPUT_TYPES:
        encoded = encode_texts(tokenizer, spec.late_interaction, side, prompts, [limit] * len(prompts))
        # Their ids are not those of the text alone, so golden.json cannot replay them as texts.
        samples += [Sample(Prompt(token_ids=tuple(item.ids)), item) for item in encoded]
    return samples


def _by_length(samples: list[Sample], limit: int) -> list[Sample]:
    """Token-id prompts of exact lengths, cut from the texts' own tokens (a single token included)."""
    stream = [token for sample in samples if sample.prompt.pair is None for token in sample.encoded.ids]
    while len(stream) < limit:
        stream += stream
    lengths = sorted({length for length in (*_LENGTHS, limit) if length <= limit})
    cut = [stream[:length] for length in lengths]
    return [Sample(Prompt(token_ids=tuple(ids)), Encoded(ids, [0] * len(ids))) for ids in cut]
