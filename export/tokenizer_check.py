"""The shipped tokenizer must give the ids that transformers gives: a graph cannot mend a wrong input."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ..runtime.tokens import TextTokenizer
from .errors import ExportError
from .quiet import quiet
from .samples import Sample


def check_tokenizer(reference: PreTrainedTokenizerBase, shipped: TextTokenizer, samples: Sequence[Sample]) -> None:
    """Compare token ids on every text of the gate, truncation included.

    Raises:
        ExportError: a text whose ids differ; the message shows it.
    """
    lower = shipped.policy.do_lower_case
    for sample in samples:
        text, pair = sample.prompt.text, sample.prompt.pair
        if text is None:
            continue
        limit = min(shipped.max_length, max(len(sample.encoded), 2))
        with quiet():
            want = reference(
                text.lower() if lower else text,
                pair.lower() if lower and pair is not None else pair,
                truncation="longest_first",
                max_length=limit,
            )["input_ids"]
        if list(want) != sample.encoded.ids:
            raise ExportError(
                f"the saved tokenizer.json gives other ids than {type(reference).__name__} for {text[:60]!r}: "
                f"{sample.encoded.ids[:8]} …, expected {list(want)[:8]} …"
            )
