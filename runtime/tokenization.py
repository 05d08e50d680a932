"""``tokenization_kwargs``: what vLLM 0.32 lets a call say about its tokenizer, as far as it can be kept exactly.

vLLM ``renderers/params.py`` (``TokenizeParams.with_kwargs``). It ignores a key it does not know;
here every key is honoured or refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..poolers.errors import closest
from .errors import InputError
from .tokens import Side

SIDES: tuple[Side, ...] = get_args(Side)
_NO_PADDING = (None, False, "do_not_pad")
_NO_TRUNCATION = (None, False, "do_not_truncate")
_TRUNCATION = (True, "longest_first")

TokenizationKey = Literal[
    "truncate_prompt_tokens",
    "truncation_side",
    "max_length",
    "truncation",
    "padding",
    "pad_prompt_tokens",
    "add_special_tokens",
    "do_lower_case",
]
TOKENIZATION_KEYS: tuple[TokenizationKey, ...] = get_args(TokenizationKey)


@dataclass(frozen=True)
class Tokenization:
    """What a call's ``tokenization_kwargs`` come to.

    Attributes:
        truncation: most tokens to keep (-1: the model's limit); ``None`` refuses over-long input.
        side: the end that truncation cuts. Special tokens stay on both sides; vLLM slices them off
            when the side is given, which spoils models that pool one of them.
        add_special_tokens: whether the tokenizer adds its markers.
        lower_case: whether texts are lower-cased first.
    """

    truncation: Any = None
    side: Side = "right"
    add_special_tokens: bool = True
    lower_case: bool = False


def parse_tokenization(kwargs: Mapping[str, Any] | None) -> Tokenization:
    """Read ``tokenization_kwargs``.

    Raises:
        InputError: an unknown key, a value of the wrong type, or one that cannot be honoured.
    """
    values = dict(kwargs or {})
    if unknown := sorted(set(values) - set(TOKENIZATION_KEYS)):
        hint = closest(str(unknown[0]), TOKENIZATION_KEYS) if len(unknown) == 1 else ""
        raise InputError(
            f"tokenization_kwargs {unknown} are not supported{hint or f'; use {sorted(TOKENIZATION_KEYS)}'}"
        )
    _refuse_padding(values)
    side = values.get("truncation_side") or "right"
    if side not in SIDES:
        raise InputError(f"truncation_side must be one of {', '.join(SIDES)}, got {side!r}")
    return Tokenization(
        truncation=_truncation(values),
        side=side,
        add_special_tokens=_switch(values, "add_special_tokens", True),
        lower_case=_switch(values, "do_lower_case", False),
    )


def _refuse_padding(values: Mapping[str, Any]) -> None:
    if values.get("padding") not in _NO_PADDING or values.get("pad_prompt_tokens") is not None:
        raise InputError(
            "padding and pad_prompt_tokens are not supported: vLLM would pool the pad tokens with the text; "
            "batches are padded and masked by themselves"
        )


def _truncation(values: Mapping[str, Any]) -> Any:
    mode, length = values.get("truncation"), values.get("max_length")
    if mode in _NO_TRUNCATION:
        if length is not None:
            raise InputError("max_length needs truncation=True; to refuse longer texts, open LLM(..., max_model_len=N)")
        return values.get("truncate_prompt_tokens")
    if mode not in _TRUNCATION:
        raise InputError(f"truncation must be true, false, 'longest_first' or 'do_not_truncate', got {mode!r}")
    if values.get("truncate_prompt_tokens") is not None:
        raise InputError("truncation and truncate_prompt_tokens say the same thing; keep one of them")
    return -1 if length is None else length


def _switch(values: Mapping[str, Any], name: str, default: bool) -> bool:
    value = values.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, got {value!r}")
    return value
