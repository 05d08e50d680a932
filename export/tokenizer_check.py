"""The shipped tokenizer must give the ids that transformers gives: a graph cannot mend a wrong input."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ..runtime.tokens import TextTokenizer
from .errors import ExportError
from .quiet import quiet
from .samples import Sample, verified_length


def check_tokenizer(reference: PreTrainedTokenizerBase, shipped: TextTokenizer, samples: Sequence[Sample]) -> None:
    """Compare token and segment ids on every text of the gate, truncation included.

    Raises:
        ExportError: a text whose ids differ; the message shows it.
    """
    limit = verified_length(shipped)
    reference = getattr(reference, "original", reference)  # a class that had to be converted
    for sample in samples:
        text, pair = sample.prompt.text, sample.prompt.pair
        if text is None:
            continue
        with quiet():
            row = reference(
                text,
                pair,
                truncation="longest_first",
                max_length=limit,
                padding="max_length" if shipped.policy.pad_to_max_length else False,
            )
        wanted = {name: list(row[name]) for name in ("input_ids", "token_type_ids") if name in row}
        found = {"input_ids": sample.encoded.ids, "token_type_ids": sample.encoded.type_ids}
        for name, want in wanted.items():
            if found[name] != want:
                raise ExportError(
                    f"the saved tokenizer.json gives other {name} than {type(reference).__name__} for {text[:60]!r}: "
                    f"{around(found[name], want)}"
                )


def around(found: list[int], want: list[int]) -> str:
    """Show the place where two rows part."""
    start = next((i for i, (a, b) in enumerate(zip(found, want, strict=False)) if a != b), min(len(found), len(want)))
    return f"from position {start}, {found[start : start + 8]} …, expected {want[start : start + 8]} …"
