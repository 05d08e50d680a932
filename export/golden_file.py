"""Write ``golden.json``: the gate's samples and what the reference answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.bars import BARS, Bars
from ..runtime.golden import GOLDEN_FORMAT
from ..runtime.manifest import GOLDEN_NAME, Precision
from ..runtime.tokens import TextTokenizer
from .samples import Sample
from .sidecars import write_json

GOLDEN_TOKENS = 48
# Numbers of one case, and of all together (eleven bytes each): token-level outputs of a wide model would make the
# file enormous.
_CASE_NUMBERS = 20_000
_ALL_NUMBERS = 200_000
# Outputs beside the head's answer, for hosts that pool themselves: of so many texts of at most so many tokens.
_BESIDE_TEXTS, _BESIDE_TOKENS = 3, 8
_ANSWERS = (
    "sentence_embedding",
    "sparse_embedding",
    "token_weights",
    "logits",
    "probs",
    "rewards",
    "token_embeddings",
)

Rows = dict[str, np.ndarray]


def write_golden(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    expected: Sequence[Rows],
    *,
    tokenizer: TextTokenizer,
    outputs: Collection[str],
    precision: Precision = "fp32",
    bars: Bars = BARS["fp32"],
) -> int:
    """Write ``golden.json`` from the reference's outputs; return the number of cases.

    Args:
        folder: bundle folder.
        name: model id.
        samples: the gate's inputs.
        expected: the reference's outputs, in the same order.
        tokenizer: the bundle's, which says where texts are cut.
        outputs: those of the graph; the reference may have more.
        precision: of the bundle's first graph.
        bars: what that graph must reach.
    """
    chosen = _choose(samples, expected, tokenizer)
    beside = _with_others(chosen, samples)
    cases: list[dict[str, Any]] = []
    for index in chosen:
        sample, rows = samples[index], _answer(expected[index])
        if index in beside:
            others = {key: value for key, value in expected[index].items() if key in outputs}
            rows = {**rows, **others} if _count({**rows, **others}) <= _CASE_NUMBERS else rows
        cases.append(
            {
                "text": sample.prompt.text,
                "pair": sample.prompt.pair,
                "input_ids": sample.encoded.ids,
                "token_type_ids": sample.encoded.type_ids,
                **_extras(sample),
                "outputs": {key: _stated(key, value) for key, value in rows.items()},
            }
        )
    golden: dict[str, Any] = {
        "format": GOLDEN_FORMAT,
        "model": name,
        "tolerance": {"max_abs": bars.max_abs, "min_cosine": bars.min_cosine},
        "tolerances": {key: dataclasses.asdict(item) for key, item in {**BARS, precision: bars}.items()},
        "cases": cases,
    }
    write_json(folder / GOLDEN_NAME, golden, indent=None)
    return len(cases)


def _choose(samples: Sequence[Sample], expected: Sequence[Rows], tokenizer: TextTokenizer) -> list[int]:
    """Indices of the samples to keep, in their order; where they are too many, the plain ones go first."""
    policy = tokenizer.policy
    usual = policy.max_length if policy.pad_to_max_length else GOLDEN_TOKENS
    sizes = [_count(_answer(rows)) for rows in expected]
    fitting = [
        index
        for index, sample in enumerate(samples)
        if sample.prompt.text is not None and sizes[index] <= _CASE_NUMBERS and _ends_as_given(sample, tokenizer)
    ]
    paired = [i for i in fitting if samples[i].prompt.pair is not None and len(samples[i].encoded) <= 2 * usual]
    # A template alone is longer than that.
    paired += [i for i in fitting if samples[i].rendered_from is not None]
    single = [i for i in fitting if samples[i].prompt.pair is None and i not in paired]
    short = [i for i in single if len(samples[i].encoded) <= usual]
    long = [i for i in single if i not in short]
    whole = [i for i in long if not samples[i].encoded.truncated]
    cut = [i for i in long if samples[i].encoded.truncated]
    longest = sorted(whole, key=lambda index: len(samples[index].encoded))[-1:]
    kept: list[int] = []
    room = _ALL_NUMBERS
    for index in dict.fromkeys((*longest, *cut[:1], *paired, *short)):
        if sizes[index] <= room:
            kept.append(index)
            room -= sizes[index]
    return sorted(kept)


def _ends_as_given(sample: Sample, tokenizer: TextTokenizer) -> bool:
    """Whether another host would cut the text at the same place: at the model's limit, not at the gate's."""
    return not sample.encoded.truncated or len(sample.encoded) == tokenizer.max_length


def _with_others(chosen: Sequence[int], samples: Sequence[Sample]) -> set[int]:
    """The cases that state the graph's other outputs too: the longest of the short texts."""
    short = [i for i in chosen if len(samples[i].encoded) <= _BESIDE_TOKENS]
    return set(sorted(short, key=lambda index: -len(samples[index].encoded))[:_BESIDE_TEXTS])


def _extras(sample: Sample) -> dict[str, Any]:
    """What only some cases have: a cut, the pair behind a rendered template, what a prompt keeps out of pooling."""
    extras: dict[str, Any] = {}
    if sample.encoded.truncated:
        extras["truncated"] = True
    if sample.rendered_from is not None:
        extras["rendered_from"] = list(sample.rendered_from)
    if sample.prompt.unpooled:
        hidden, total = sample.encoded.prompt_length, len(sample.encoded)
        extras |= {"unpooled": sample.prompt.unpooled, "pooling_mask": [0] * hidden + [1] * (total - hidden)}
    return extras


def _answer(outputs: Rows) -> Rows:
    """What the head answers; token vectors only where they are that."""
    left_out = {"token_embeddings"} if "sentence_embedding" in outputs else set()
    return {key: value for key, value in outputs.items() if key in _ANSWERS and key not in left_out}


def _count(outputs: Rows) -> int:
    """How many numbers the outputs take in the file."""
    return sum(
        2 * int(np.count_nonzero(values)) if name == "sparse_embedding" else values.size
        for name, values in outputs.items()
    )


def _stated(name: str, values: np.ndarray) -> Any:
    """One output as the file has it: nested lists, or the non-zero entries of a vector as wide as a vocabulary."""
    if name != "sparse_embedding":
        return _rounded(values)
    indices = np.flatnonzero(values)
    return {"size": values.size, "indices": indices.tolist(), "values": _rounded(values[indices])}


def _rounded(values: np.ndarray) -> Any:
    """Nested lists at float32 precision."""
    return (
        np.vectorize(lambda x: float(f"{x:.8g}"), otypes=[object])(values).tolist() if values.size else values.tolist()
    )
