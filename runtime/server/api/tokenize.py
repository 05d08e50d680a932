"""``POST /tokenize`` and ``POST /detokenize``: vLLM's routes over a model's tokenizer. No model is run."""

from __future__ import annotations

from typing import Any

import msgspec

from ..exchange import Exchange, Reply, json_reply
from ..problems import BadRequest
from ..route import Route
from .forms import Messages, chat_prompts


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """A text (``prompt``) or a chat (``messages``); special tokens are added to a text and not to a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool | None = None


class TokenizeAnswer(msgspec.Struct, kw_only=True):
    """Token ids, however many there are; ``max_model_len`` is what a request may have."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """Token ids."""

    model: str | None = None
    tokens: list[int]


class DetokenizeAnswer(msgspec.Struct, kw_only=True):
    """Their text, special tokens included."""

    prompt: str


def tokenize(exchange: Exchange, body: TokenizeRequest) -> Reply:
    """Tokenize a text or a chat."""
    served = exchange.model(body.model)
    tokenizer = served.engine.tokenizer
    if (body.prompt is None) == (body.messages is None):
        found = "neither" if body.prompt is None else "both"
        raise BadRequest(f"give either `prompt` or `messages`, got {found}", "prompt")
    text, special = body.prompt or "", body.add_special_tokens is not False
    if body.messages is not None:
        if not body.messages or isinstance(body.messages[0], list):
            raise BadRequest("messages must be one conversation: a list of at least one message", "messages")
        (prompt,), special = chat_prompts(exchange, served, body, body.messages)
        if prompt.image is not None:
            raise BadRequest("messages holds an image (image_url), which has no tokens", "messages")
        text = prompt.text or ""
    ids = tokenizer.ids(text, special)
    answer = {
        "count": len(ids),
        "max_model_len": tokenizer.max_length,
        "tokens": ids,
        "token_strs": tokenizer.tokens(ids) if body.return_token_strs else None,
    }
    return json_reply(answer)


def detokenize(exchange: Exchange, body: DetokenizeRequest) -> Reply:
    """Turn token ids into text."""
    served = exchange.model(body.model)
    return json_reply({"prompt": served.engine.tokenizer.decode(body.tokens)})


ROUTES = (
    Route(
        paths=("/tokenize",),
        handle=tokenize,
        summary="Tokenize a text or a chat (vLLM)",
        tag="vLLM",
        body=TokenizeRequest,
        answer=TokenizeAnswer,
    ),
    Route(
        paths=("/detokenize",),
        handle=detokenize,
        summary="Turn token ids into text (vLLM)",
        tag="vLLM",
        body=DetokenizeRequest,
        answer=DetokenizeAnswer,
    ),
)
