"""What the routes of OpenAI and vLLM have in common: fields, usage, and how options reach the engine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from ...requests import CallOptions
from ...tokens import Encoded
from ..exchange import Exchange

Truncation = Annotated[int, msgspec.Meta(ge=-1, description="Keep at most this many tokens; -1 is the model's limit.")]


class RequestFields(msgspec.Struct, kw_only=True):
    """Fields of every OpenAI and vLLM route. ``user``, ``priority`` and ``request_id`` change nothing here."""

    model: str | None = None
    user: str | None = None
    truncate_prompt_tokens: Truncation | None = None
    truncation_side: Literal["left", "right"] | None = None
    padding: Literal["do_not_pad", "max_length"] | None = None
    priority: int = 0
    request_id: str | None = None

    def options(self, *, add_special_tokens: bool = True, input_type: Any = None) -> CallOptions:
        """The fields as the engine takes them.

        Raises:
            InputError: a value that cannot be honoured (``padding="max_length"``).
        """
        tokenizer = {
            "truncation_side": self.truncation_side,
            "padding": self.padding,
            "add_special_tokens": add_special_tokens,
        }
        return CallOptions(self.truncate_prompt_tokens, tokenization_kwargs=tokenizer, input_type=input_type)


class Usage(msgspec.Struct, kw_only=True):
    """Tokens that were run: special ones included, after truncation."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: None = None


def usage_of(rows: Iterable[Encoded]) -> dict[str, Any]:
    """Count the tokens of what was run; an image is one, as in vLLM for CLIP."""
    tokens = sum(1 if item.image is not None else len(item) for item in rows)
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}


def usage_of_call(exchange: Exchange) -> dict[str, Any]:
    """Count the tokens of everything that was run for a request, a text that is part of many pairs once (vLLM 0.32)."""
    tokens = exchange.call.prompt_tokens
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}


def envelope(exchange: Exchange, prefix: str, data: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
    """The list that OpenAI and vLLM answer with."""
    name = exchange.served.name if exchange.served else None
    return {
        "id": f"{prefix}-{exchange.request_id}",
        "object": "list",
        "created": int(time.time()),
        "model": name,
        "data": data,
        "usage": usage,
    }
