"""Inputs of the parity gate and of ``golden.json``: zoo texts, pairs, and exact lengths up to the limit."""

from __future__ import annotations

from dataclasses import dataclass

from ..models_zoo.texts import hard_texts, pairs, paragraph, sentences
from ..poolers.parts import INPUT_TYPES
from ..poolers.spec import PoolingSpec
from ..runtime.errors import InputError
from ..runtime.late import encode_texts
from ..runtime.pairs import PairOptions, template_of, templated_prompt
from ..runtime.prompting import with_prompt
from ..runtime.prompts import Prompt
from ..runtime.tokens import Encoded, TextTokenizer
from .errors import ExportError

# Beyond this a CPU reference run takes minutes; the report says how long the longest text was.
_LONGEST_VERIFIED = 512
SENTENCES = 16
PAIRS = 8
_PROMPTED = 8
_STAND_IN_PROMPT = "Represent the sentence: "  # where a checkpoint that leaves prompts out of pooling names none
_LENGTHS = (1, 2, 3, 5, 8, 16, 31, 64, 127, 256, 512)


@dataclass(frozen=True)
class Sample:
    """One input: how it was given, and its tokens; ``rendered_from`` is the pair behind a rendered template."""

    prompt: Prompt
    encoded: Encoded
    rendered_from: tuple[str, str] | None = None


def verified_length(tokenizer: TextTokenizer) -> int:
    """Most tokens of a sample: the model's limit, or less where that would take too long."""
    return min(tokenizer.max_length, _LONGEST_VERIFIED)


def parity_samples(tokenizer: TextTokenizer, spec: PoolingSpec) -> list[Sample]:
    """Build the gate's inputs.

    Texts are truncated to the limit; a text that tokenizes to nothing (an empty string under a
    tokenizer without special tokens) is left out, because the runtime refuses it.
    """
    prompts = [Prompt(text=text) for text in (*hard_texts(), paragraph(), *sentences()[:SENTENCES])]
    if spec.convert == "classify" and tokenizer.policy.score_template is None:
        prompts += [Prompt(text=query, pair=document) for query, document in pairs()[:PAIRS]]
    if not spec.include_prompt:
        prompts += _prompted(tokenizer, spec)
    limit = verified_length(tokenizer)
    samples = []
    for prompt in prompts:
        if prompt.text == "" and not tokenizer.count(prompt):
            continue
        (encoded,) = tokenizer.encode([prompt], [limit])
        samples.append(Sample(prompt, encoded))
    samples += _sides(tokenizer, spec, limit) + _rendered(tokenizer, limit)
    return samples + _by_length(samples, limit)


def _sides(tokenizer: TextTokenizer, spec: PoolingSpec, limit: int) -> list[Sample]:
    """Texts as late interaction reads queries and documents: markers, expansion, declared lengths."""
    if spec.late_interaction is None or not spec.is_token_level:
        return []
    prompts = [Prompt(text=text) for text in (*hard_texts(), *sentences()[:SENTENCES])]
    samples = []
    for side in INPUT_TYPES:
        encoded = encode_texts(tokenizer, spec.late_interaction, side, prompts, [limit] * len(prompts))
        # Their ids are not those of the text alone, so golden.json cannot replay them as texts.
        samples += [Sample(Prompt(token_ids=tuple(item.ids)), item) for item in encoded]
    return samples


def _prompted(tokenizer: TextTokenizer, spec: PoolingSpec) -> list[Prompt]:
    """Texts behind the model's prompts, whose tokens stay out of pooling."""
    stated = [text for text in tokenizer.policy.prompts.values() if text] or [_STAND_IN_PROMPT]
    texts = [Prompt(text=text) for text in sentences()[:_PROMPTED]]
    return [
        item
        for index, text in enumerate(texts)
        for item in with_prompt([text], tokenizer.policy, spec, prompt=stated[index % len(stated)])
    ]


def _rendered(tokenizer: TextTokenizer, limit: int) -> list[Sample]:
    """Pairs through the bundle's score template, where it has one.

    Raises:
        ExportError: not one of them fits.
    """
    chosen = template_of(tokenizer, PairOptions())
    if chosen is None:
        return []
    samples, reason = [], ""
    for query, document in pairs()[:PAIRS]:
        try:
            prompt = templated_prompt(query, document, tokenizer, *chosen, limit=limit)
        except InputError as error:
            reason = str(error)
            continue
        (encoded,) = tokenizer.encode([prompt], [limit])
        samples.append(Sample(prompt, encoded, (query, document)))
    if not samples:
        raise ExportError(f"no pair of texts fits the score template: {reason}")
    return samples


def _by_length(samples: list[Sample], limit: int) -> list[Sample]:
    """Token-id prompts of exact lengths, cut from the texts' own tokens (a single token included)."""
    stream = [token for sample in samples if sample.prompt.pair is None for token in sample.encoded.ids]
    while len(stream) < limit:
        stream += stream
    lengths = sorted({length for length in (*_LENGTHS, limit) if length <= limit})
    cut = [stream[:length] for length in lengths]
    return [Sample(Prompt(token_ids=tuple(ids)), Encoded(ids, [0] * len(ids))) for ids in cut]
