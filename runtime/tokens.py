"""Text to token ids with Rust ``tokenizers``: pairs, truncation policy, length and vocabulary checks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from .errors import BundleError, InputError
from .manifest import TokenizerPolicy
from .prompts import Prompt


@dataclass(frozen=True)
class Encoded:
    """One tokenized input. ``type_ids`` has the length of ``ids``."""

    ids: list[int]
    type_ids: list[int]

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
            InputError: empty or over-long input, an unknown token id, or a bad truncation size.
        """
        limits = [self._limit(value) for value in truncate]
        encoded: list[Encoded | None] = [None] * len(prompts)
        texts = [index for index, prompt in enumerate(prompts) if prompt.token_ids is None]
        raw = self._tokenizer.encode_batch_fast(
            [self._text(prompts[index]) for index in texts], add_special_tokens=add_special_tokens
        )
        for index, encoding in zip(texts, raw, strict=True):
            limit = limits[index]
            if limit is not None and len(encoding.ids) > limit:
                encoding = self._encode_truncated(prompts[index], limit, add_special_tokens)
            encoded[index] = Encoded(encoding.ids, encoding.type_ids)
        for index, prompt in enumerate(prompts):
            if prompt.token_ids is not None:
                ids = list(prompt.token_ids)[: limits[index]]
                self._check_vocabulary(ids)
                encoded[index] = Encoded(ids, [0] * len(ids))
        done = [item for item in encoded if item is not None]
        for item in done:
            self._check_length(item)
        return done

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of a prompt, special tokens included, before any truncation."""
        if prompt.token_ids is not None:
            return len(prompt.token_ids)
        return len(self._tokenizer.encode_batch_fast([self._text(prompt)])[0].ids)

    def _text(self, prompt: Prompt) -> str | tuple[str, str]:
        text, pair = prompt.text or "", prompt.pair
        if self.policy.do_lower_case:
            text, pair = text.lower(), pair if pair is None else pair.lower()
        return text if pair is None else (text, pair)

    def _encode_truncated(self, prompt: Prompt, limit: int, add_special_tokens: bool) -> Encoding:
        # Truncation is a setting of the tokenizer object, so it gets an object and a lock of its own.
        with self._lock:
            if self._truncating is None:
                self._truncating = _load(self._path)
            reserved = self._truncating.num_special_tokens_to_add(prompt.pair is not None) if add_special_tokens else 0
            if limit <= reserved:
                raise InputError(f"truncate_prompt_tokens must be above {reserved} (special tokens), got {limit}")
            self._truncating.enable_truncation(limit, strategy="longest_first", direction="right")
            return self._truncating.encode_batch_fast([self._text(prompt)], add_special_tokens=add_special_tokens)[0]

    def _limit(self, value: int | None) -> int | None:
        if value is None:
            return None
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

    def _check_length(self, item: Encoded) -> None:
        if not item.ids:
            raise InputError("The decoder prompt cannot be empty")
        if len(item) > self.max_length:
            raise InputError(
                f"This model's maximum context length is {self.max_length} tokens. However, your prompt contains "
                f"{len(item)} input tokens. Please reduce the length of the input prompt, or ask for truncation "
                "with truncate_prompt_tokens=-1."
            )

    def _check_vocabulary(self, ids: Sequence[int]) -> None:
        size = self.policy.vocab_size
        for token in ids:
            if not 0 <= token < size:
                raise InputError(f"Token id {token} is out of vocabulary")


def _load(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise BundleError(f"{path} cannot be read ({error}); export the model again") from error
    # Files often carry fixed padding or truncation (fastembed#703); both are decided per request here.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
