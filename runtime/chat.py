"""Chats as clients send them: messages whose content is a text, or parts (vLLM ``entrypoints/chat_utils.py``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InputError

Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """Messages as a template reads them, their text parts joined, and the addresses of the images among them."""

    messages: tuple[Message, ...]
    images: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The texts of all messages."""
        return "\n".join(text for message in self.messages if (text := message.get("content")))


def read_conversation(messages: Any, where: str = "messages") -> Conversation:
    """Check one conversation and take it apart.

    Args:
        messages: ``[{"role": str, "content": str or parts}, …]``; a part is ``{"type": "text", "text": str}`` or
            ``{"type": "image_url", "image_url": {"url": str}}``.
        where: the field it came in, shown in messages.

    Raises:
        InputError: names the message and the part that are none.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise InputError(f"{where} must be a list of at least one message, got {_shown(messages)}")
    found: list[Message] = []
    images: list[str] = []
    for index, message in enumerate(messages):
        place = f"{where}[{index}]"
        if not isinstance(message, Mapping):
            raise InputError(f"{place} must be an object with `role` and `content`, got {_shown(message)}")
        if not isinstance(message.get("role"), str):
            raise InputError(f"{place}.role must be a string such as 'user', got {_shown(message.get('role'))}")
        # A key without a value is left out, as in transformers: templates would write "None".
        plain = {str(key): value for key, value in message.items() if value is not None}
        if "content" in plain:
            plain["content"], urls = _read_content(plain["content"], f"{place}.content")
            images += urls
        found.append(plain)
    return Conversation(tuple(found), tuple(images))


def _read_content(content: Any, where: str) -> tuple[str, list[str]]:
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise InputError(f"{where} must be a string or a list of parts, got {_shown(content)}")
    texts: list[str] = []
    images: list[str] = []
    for index, part in enumerate(content):
        place = f"{where}[{index}]"
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, Mapping):
            raise InputError(f"{place} must be a part with a `type`, got {_shown(part)}")
        kind = part.get("type", next((key for key in ("text", "image_url") if key in part), None))
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            images.append(_url(part.get("image_url"), place))
        else:
            raise InputError(
                f"{place} must be {{'type': 'text', 'text': ...}} or {{'type': 'image_url', 'image_url': "
                f"{{'url': ...}}}}, got {_shown(part)}"
            )
    return "\n".join(texts), images  # vLLM joins with a line break


def _url(value: Any, where: str) -> str:
    url = value.get("url") if isinstance(value, Mapping) else value
    if not isinstance(url, str):
        raise InputError(f"{where}.image_url.url must be a string, got {_shown(url)}")
    return url


def _shown(value: Any) -> str:
    return f"{value!r:.80}"
