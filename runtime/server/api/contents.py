"""Texts and images that are scored or embedded one by one: a string, ``{"text": …}`` or ``{"content": parts}``."""

from __future__ import annotations

from typing import Any

import msgspec

from ...chat import read_conversation
from ...prompts import Prompt
from ..exchange import Exchange
from ..models import Served
from ..problems import BadRequest
from .forms import image_prompt


class ContentObject(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of the two: ``text`` (Jina, Cohere), or vLLM's ``content``, parts of a text or an image as in a chat."""

    text: str | None = None
    content: list[dict[str, Any]] | None = None


Item = str | ContentObject
Items = Item | list[Item]


def listed(items: Items) -> list[Item]:
    """One item, or several, as a list."""
    return items if isinstance(items, list) else [items]


def scorable(exchange: Exchange, served: Served, items: Items, where: str) -> list[Any]:
    """Items as ``scoring.score`` takes them: texts, and images decoded.

    Raises:
        BadRequest, InputError: names the item that cannot be read.
    """
    exchange.check_count(where, items)
    prompts = [read_item(exchange, served, item, f"{where}[{index}]") for index, item in enumerate(listed(items))]
    return [
        prompt.text if prompt.image is None else {"prompt": "", "multi_modal_data": {"image": prompt.image}}
        for prompt in prompts
    ]


def read_item(exchange: Exchange, served: Served, item: Item, where: str) -> Prompt:
    """One text or image.

    Raises:
        BadRequest: neither ``text`` nor ``content``, or both.
        InputError: a part or an image that cannot be read, or that the server may not read.
    """
    if isinstance(item, str):
        return Prompt(text=item)
    if (item.text is None) == (item.content is None):
        found = "neither" if item.text is None else "both"
        raise BadRequest(f"{where} must have `text` or `content`, got {found}", where)
    if item.content is None:
        return Prompt(text=item.text)
    conversation = read_conversation([{"role": "user", "content": item.content}], where)
    if conversation.images:
        return image_prompt(exchange, served, conversation, where)
    return Prompt(text=conversation.text)
