"""Text to token ids with Rust ``tokenizers``: pairs, truncation policy, length and vocabulary checks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tokenizers import Encoding, Tokenizer

from .errors import BundleError, InputError
from .manifest import TokenizerPolicy
from .prompts import Prompt
from .shared_first import Text, encode_shared, joins_exactly, share_their_first

Side = Literal["left", "right"]

_NOT_UNICODE = "a text holds half a surrogate pair, which is not Unicode text; replace it first"


@dataclass(frozen=True)
class Encoded:
    """One tokenized input. ``type_ids`` has the length of ``ids``; an image has no tokens.

    ``unattended`` counts the tokens at the end that the model does not attend to and that answer all
    the same: the expansion of a ColBERT query. ``prompt_length`` is the number of leading tokens that
    are left out of pooling, and ``truncated`` says that tokens were cut off.
    """

    ids: list[int]
    type_ids: list[int]
    _: KW_ONLY
    unattended: int = 0
    prompt_length: int = 0
    truncated: bool = False
    image: Any = field(default=None, compare=False)

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.ids)


class TextTokenizer:
    """The bundle's tokenizer with its policy. Safe to call from several threads.

    ``max_characters`` refuses longer texts before any work: to tokenize 8 MiB took 10 s and 1.5 GB, truncated or not.
    """

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
        self.max_characters: int | None = None
        self.max_length = policy.max_length if max_length is None else max_length
        if not 1 <= self.max_length <= policy.max_length:
            raise InputError(f"max_model_len must be in [1, {policy.max_length}] for this bundle, got {max_length}")
        self._path = path
        self._tokenizer = _load(path)
        self._vocab_size = policy.vocab_size or self._tokenizer.get_vocab_size()
        self._truncating: Tokenizer | None = None
        self._lock = threading.Lock()
        added = self._tokenizer.get_added_tokens_decoder()
        self._specials = frozenset(number for number, token in added.items() if token.special)
        self._prompt_lengths: dict[tuple[str, bool], int] = {}

    def encode(
        self,
        prompts: Sequence[Prompt],
        truncate: Sequence[int | None],
        *,
        add_special_tokens: bool = True,
        side: Side = "right",
    ) -> list[Encoded]:
        """Tokenize a batch.

        Args:
            prompts: inputs; token ids pass through unchanged.
            truncate: per prompt: the most tokens to keep (-1: the model's limit), or ``None`` to
                refuse over-long input.
            add_special_tokens: let the tokenizer add its markers to texts.
            side: the end that truncation cuts; the markers of a text stay on either side.

        Raises:
            InputError: empty or over-long input, an unknown token id, text that is not Unicode, a
                bad truncation size, or nothing left to pool beside the prompt.
        """
        encoded: dict[int, Encoded] = {}
        by_limit: dict[int | None, list[int]] = {}  # one pass for all texts of one truncation size
        for index, (prompt, limit) in enumerate(zip(prompts, map(self.limit, truncate), strict=True)):
            if prompt.image is not None:
                encoded[index] = Encoded([], [], image=prompt.image)
            elif prompt.token_ids is None:
                self._check_characters(prompt)
                by_limit.setdefault(limit, []).append(index)
            else:
                ids = _cut(prompt.token_ids, limit, side)
                encoded[index] = Encoded(ids, [0] * len(ids), truncated=len(ids) < len(prompt.token_ids))
        for limit, indices in by_limit.items():
            texts = [_text(prompts[index]) for index in indices]
            encodings = self._encode_texts(texts, limit, add_special_tokens, side)
            for index, encoding in zip(indices, encodings, strict=True):
                length = self.prompt_length(prompts[index].unpooled, add_special_tokens)
                encoded[index] = Encoded(
                    encoding.ids,
                    encoding.type_ids,
                    prompt_length=length,
                    truncated=limit is not None and bool(encoding.overflowing),
                )
        for item in encoded.values():
            if item.image is None:
                self.check(item)
        if self.policy.pad_to_max_length:
            encoded |= {index: self._padded(encoded[index]) for indices in by_limit.values() for index in indices}
        return [encoded[index] for index in range(len(prompts))]

    def _check_characters(self, prompt: Prompt) -> None:
        found = len(prompt.text or "") + len(prompt.pair or "")
        if self.max_characters is not None and found > self.max_characters:
            raise InputError(f"a text has {found} characters, the limit is {self.max_characters} (max_text)")

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of a prompt, special tokens included, before any truncation."""
        if prompt.token_ids is not None:
            return len(prompt.token_ids)
        return len(_encode(self._tokenizer, [_text(prompt)], True)[0].ids)

    def ids(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text of any length.

        Raises:
            InputError: text that is not Unicode.
        """
        return list(_encode(self._tokenizer, [text], add_special_tokens)[0].ids)

    def first_special_id(self) -> int | None:
        """The token that the tokenizer puts in front of every text, ``None`` where it puts none."""
        empty = _encode(self._tokenizer, [""], True)[0].ids
        other = _encode(self._tokenizer, ["a"], True)[0].ids
        return int(empty[0]) if empty and other and empty[0] == other[0] else None

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's entry of each id; ``<id>`` where it has none (a padded vocabulary)."""
        return [self._tokenizer.id_to_token(number) or f"<{number}>" for number in ids]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids, as the tokenizer spells it.

        Raises:
            InputError: an id that the tokenizer and the model do not have.
        """
        size = max(self._vocab_size, self._tokenizer.get_vocab_size())
        if wrong := [number for number in ids if not 0 <= number < size]:
            raise InputError(f"Token id {wrong[0]} is out of vocabulary (0 to {size - 1})")
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in a text its tokens lie, as character offsets; no special tokens.

        Raises:
            InputError: text that is not Unicode.
        """
        # Not the fast path: that one leaves the offsets out.
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)
        except TypeError as error:
            raise InputError(_NOT_UNICODE) from error

    def prompt_length(self, prompt: str, special: bool = True) -> int:
        """Number of leading tokens that belong to a prompt, by sentence-transformers' rule.

        The tokens of the prompt alone, cut at the model's limit, less the special token that ends
        them (``_get_prompt_length`` in sentence-transformers 6.2 ``base/modules/transformer.py``).
        """
        if not prompt:
            return 0
        if (prompt, special) not in self._prompt_lengths:
            (encoding,) = self._encode_texts([prompt], self.max_length, special, "right")
            ends = bool(encoding.ids) and (encoding.special_tokens_mask[-1] == 1 or encoding.ids[-1] in self._specials)
            self._prompt_lengths[prompt, special] = len(encoding.ids) - ends
        return self._prompt_lengths[prompt, special]

    def _encode_texts(self, texts: list[Text], limit: int | None, special: bool, side: Side) -> list[Encoding]:
        if limit is None:
            return self._encode_batch(self._tokenizer, texts, special)
        for text in texts:
            reserved = self._tokenizer.num_special_tokens_to_add(isinstance(text, tuple)) if special else 0
            if limit <= reserved and len(_encode(self._tokenizer, [text], special)[0].ids) > limit:
                raise InputError(f"truncate_prompt_tokens must be above {reserved} (special tokens), got {limit}")
        # Truncation is a setting of the tokenizer object, so it gets an object and a lock of its own.
        with self._lock:
            if self._truncating is None:
                self._truncating = _load(self._path)
            self._truncating.enable_truncation(limit, strategy="longest_first", direction=side)
            return self._encode_batch(self._truncating, texts, special)

    def _encode_batch(self, tokenizer: Tokenizer, texts: list[Text], special: bool) -> list[Encoding]:
        if not share_their_first(texts) or not self._joins_exactly:
            return _encode(tokenizer, texts, special)
        try:
            return encode_shared(self._tokenizer, tokenizer, texts, special)
        except TypeError as error:
            raise InputError(_NOT_UNICODE) from error

    @cached_property
    def _joins_exactly(self) -> bool:
        return joins_exactly(self._tokenizer)

    def _padded(self, item: Encoded) -> Encoded:
        """Pad with tokens like any other: the model was trained on texts of one length."""
        missing = self.policy.max_length - len(item)
        ids, types = [self.policy.pad_token_id] * missing, [0] * missing
        if self.policy.padding_side == "left":
            return replace(item, ids=ids + item.ids, type_ids=types + item.type_ids)
        return replace(item, ids=item.ids + ids, type_ids=item.type_ids + types)

    def limit(self, value: Any) -> int | None:
        """Read a truncation size: ``None`` stays, -1 is the model's limit.

        Raises:
            InputError: not an integer, below -1, or above the model's limit.
        """
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

    def check(self, item: Encoded) -> None:
        """Refuse an input the graph cannot take.

        Raises:
            InputError: empty, over-long, or with an unknown token id.
        """
        if not item.ids:
            raise InputError("The decoder prompt cannot be empty")
        if item.prompt_length >= len(item):
            raise InputError(
                f"nothing is left to pool: all {len(item)} tokens belong to the prompt, which this model leaves out "
                "of pooling; give a text behind the prompt, or a larger truncation size"
            )
        if len(item) > self.max_length:
            raise InputError(
                f"This model's maximum context length is {self.max_length} tokens. However, your prompt contains "
                f"{len(item)} input tokens. Please reduce the length of the input prompt, or ask for truncation "
                "with truncate_prompt_tokens=-1."
            )
        for token in (min(item.ids), max(item.ids)):
            if not 0 <= token < self._vocab_size:
                raise InputError(f"Token id {token} is out of vocabulary (0 to {self._vocab_size - 1})")


def _encode(tokenizer: Tokenizer, texts: list[Text], special: bool) -> list[Encoding]:
    try:
        return tokenizer.encode_batch_fast(texts, add_special_tokens=special)
    except TypeError as error:  # all are strings, so one of them has no UTF-8 form
        raise InputError(_NOT_UNICODE) from error


def _cut(ids: Sequence[int], limit: int | None, side: Side) -> list[int]:
    if limit is None or limit >= len(ids):
        return list(ids)
    return list(ids[:limit] if side == "right" else ids[len(ids) - limit :])


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
