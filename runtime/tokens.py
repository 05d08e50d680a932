"""Text to token ids with Rust ``tokenizers``: pairs, truncation policy, length and vocabulary checks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from .errors import BundleError, InputError
from .manifest import TokenizerPolicy
from .prompts import Prompt

Text = str | tuple[str, str]  # a text, or a pair of texts


@dataclass(frozen=True)
class Encoded:
    """One tokenized input. ``type_ids`` has the length of ``ids``; an image has no tokens."""

    ids: list[int]
    type_ids: list[int]
    image: Any = field(default=None, compare=False)

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.ids)


class TextTokenizer:
    """The bundle's tokenizer with its policy. Safe to call from several threads."""

    def __init__(self, path: Path, policy: TokenizerPolicy, max_length: int | None = None) -> None:
        """Load ``tokenizer.json``.

        Args:
            path: the file.
            policy: what the manifest says.
            max_length: a lower limit than the policy's.

        Raises:
            BundleError: the file cannot be read.
            InputError: ``max_length`` is above the policy's, or below 1.
        """
        self.policy = policy
        self.max_length = policy.max_length if max_length is None else max_length
        if not 1 <= self.max_length <= policy.max_length:
            raise InputError(f"max_model_len must be in [1, {policy.max_length}] for this bundle, got {max_length}")
        self._path = path
        self._tokenizer = _load(path)
        self._vocab_size = policy.vocab_size or self._tokenizer.get_vocab_size()
        self._truncating: Tokenizer | None = None
        self._lock = threading.Lock()

    def encode(
        self, prompts: Sequence[Prompt], truncate: Sequence[int | None], *, add_special_tokens: bool = True
    ) -> list[Encoded]:
        """Tokenize a batch.

        Args:
            prompts: inputs; token ids pass through unchanged.
            truncate: per prompt: the most tokens to keep (-1: the model's limit), or ``None`` to
                refuse over-long input.
            add_special_tokens: let the tokenizer add its markers to texts.

        Raises:
            InputError: empty or over-long input, an unknown token id, text that is not Unicode, or a
                bad truncation size.
        """
        encoded: dict[int, Encoded] = {}
        by_limit: dict[int | None, list[int]] = {}  # one pass for all texts of one truncation size
        for index, (prompt, limit) in enumerate(zip(prompts, map(self._limit, truncate), strict=True)):
            if prompt.image is not None:
                encoded[index] = Encoded([], [], prompt.image)
            elif prompt.token_ids is None:
                by_limit.setdefault(limit, []).append(index)
            else:
                ids = list(prompt.token_ids[:limit])
                encoded[index] = Encoded(ids, [0] * len(ids))
        for limit, indices in by_limit.items():
            texts = [_text(prompts[index]) for index in indices]
            encodings = self._encode_texts(texts, limit, add_special_tokens)
            for index, encoding in zip(indices, encodings, strict=True):
                encoded[index] = Encoded(encoding.ids, encoding.type_ids)
        for item in encoded.values():
            if item.image is None:
                self._check(item)
        if self.policy.pad_to_max_length:
            encoded |= {index: self._padded(encoded[index]) for indices in by_limit.values() for index in indices}
        return [encoded[index] for index in range(len(prompts))]

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of a prompt, special tokens included, before any truncation."""
        if prompt.token_ids is not None:
            return len(prompt.token_ids)
        return len(_encode(self._tokenizer, [_text(prompt)], True)[0].ids)

    def _encode_texts(self, texts: list[Text], limit: int | None, special: bool) -> list[Encoding]:
        if limit is None:
            return _encode(self._tokenizer, texts, special)
        for text in texts:
            reserved = self._tokenizer.num_special_tokens_to_add(isinstance(text, tuple)) if special else 0
            if limit <= reserved and len(_encode(self._tokenizer, [text], special)[0].ids) > limit:
                raise InputError(f"truncate_prompt_tokens must be above {reserved} (special tokens), got {limit}")
        # Truncation is a setting of the tokenizer object, so it gets an object and a lock of its own.
        with self._lock:
            if self._truncating is None:
                self._truncating = _load(self._path)
            self._truncating.enable_truncation(limit, strategy="longest_first", direction="right")
            return _encode(self._truncating, texts, special)

    def _padded(self, item: Encoded) -> Encoded:
        """Pad with tokens like any other: the model was trained on texts of one length."""
        missing = self.policy.max_length - len(item)
        ids, types = [self.policy.pad_token_id] * missing, [0] * missing
        if self.policy.padding_side == "left":
            return Encoded(ids + item.ids, types + item.type_ids)
        return Encoded(item.ids + ids, item.type_ids + types)

    def _limit(self, value: Any) -> int | None:
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"truncate_prompt_tokens must be an integer, got {value!r}")
        if value == -1:
            return self.max_length
        if value < -1:
            raise InputError(f"truncate_prompt_tokens must be -1 (the model's limit) or more, got {value}")
        if value > self.max_length:
            raise InputError(
                f"truncate_prompt_tokens value ({value}) is greater than max_model_len ({self.max_length}). "
                "Please, select a smaller truncation size."
            )
        return value

    def _check(self, item: Encoded) -> None:
        if not item.ids:
            raise InputError("The decoder prompt cannot be empty")
        if len(item) > self.max_length:
            raise InputError(
                f"This model's maximum context length is {self.max_length} tokens. However, your prompt contains "
                f"{len(item)} input tokens. Please reduce the length of the input prompt, or ask for truncation "
                "with truncate_prompt_tokens=-1."
            )
        for token in (min(item.ids), max(item.ids)):
            if not 0 <= token < self._vocab_size:
                raise InputError(f"Token id {token} is out of vocabulary")


def _encode(tokenizer: Tokenizer, texts: list[Text], special: bool) -> list[Encoding]:
    try:
        return tokenizer.encode_batch_fast(texts, add_special_tokens=special)
    except TypeError as error:  # all are strings, so one of them has no UTF-8 form
        raise InputError("a text holds half a surrogate pair, which is not Unicode text; replace it first") from error


def _text(prompt: Prompt) -> Text:
    text = prompt.text or ""
    return text if prompt.pair is None else (text, prompt.pair)


def _load(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise BundleError(f"{path} cannot be read ({error}); export the model again") from error
    # Files often carry fixed padding or truncation (fastembed#703); both are decided per request here.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
