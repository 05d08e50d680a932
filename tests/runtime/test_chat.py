"""Conversations as clients send them."""

from __future__ import annotations

from typing import Any

import pytest

from pool_export.runtime.chat import read_conversation
from pool_export.runtime.errors import InputError

IMAGE = {"type": "image_url", "image_url": {"url": "data:,x"}}


def test_parts_become_text_and_images():
    messages = [
        {"role": "system", "content": "be short", "name": None},
        {"role": "user", "content": [{"type": "text", "text": "one"}, "two", IMAGE, {"image_url": "data:,y"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    ]
    found = read_conversation(messages)
    assert found.messages == (
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
    )
    assert found.images == ("data:,x", "data:,y")
    assert found.text == "be short\none\ntwo"


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "x"}, {"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], r"messages must be a list of at least one message, got \[\]"),
        ("hello", "messages must be a list of at least one message, got 'hello'"),
        (["hello"], r"messages\[0\] must be an object with `role` and `content`, got 'hello'"),
        ([{"content": "a"}], r"messages\[0\]\.role must be a string such as 'user', got None"),
        (user(5), r"messages\[1\]\.content must be a string or a list of parts, got 5"),
        (user([5]), r"messages\[1\]\.content\[0\] must be a part with a `type`, got 5"),
        (user([{"type": "video_url"}]), r"messages\[1\]\.content\[0\] must be .* got .*video_url"),
        (user([{"type": "text"}]), r"messages\[1\]\.content\[0\] must be .*'text': \.\.\."),
        (user([{"type": "image_url", "image_url": {}}]), r"content\[0\]\.image_url\.url must be a string, got None"),
    ],
)
def test_what_is_no_conversation_is_named(messages: Any, message: str):
    with pytest.raises(InputError, match=message):
        read_conversation(messages)
