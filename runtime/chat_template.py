"""Chat templates: a conversation rendered into the one text that the model reads.

Rendering is transformers' ``apply_chat_template`` (``utils/chat_template_utils.py``): the same environment, the
same values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .chat import Conversation, Message
from .errors import BundleError, InputError
from .templates import RESERVED, first_line, jinja_environment

# Values that have a field of their own in a request.
_FIELDS = frozenset({"add_generation_prompt", "continue_final_message", "documents"})
_MARK = "CONTINUE_FINAL_MESSAGE_TAG "
# vLLM's `template_basic.jinja`, its fallback for CLIP and SigLIP.
_PLAIN = "{%- for message in messages -%}{{- message['content'] -}}{%- endfor -%}"


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template of a model.

    Attributes:
        text: jinja.
        special_tokens: ``bos_token`` and the like, which templates read by these names.
        is_plain: it writes the contents and nothing else, so the tokenizer has to add its special tokens.
    """

    text: str
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    is_plain: bool = False

    def render(
        self,
        conversation: Conversation,
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        values: Mapping[str, Any] | None = None,
    ) -> str:
        """Render one conversation.

        Args:
            conversation: its messages.
            add_generation_prompt: end with what begins an assistant's answer.
            continue_final_message: leave the last message open, without what ends it.
            values: further values for the template (``chat_template_kwargs``).

        Raises:
            InputError: both switches, a value that the template does not read, a template that is not
                valid jinja, that failed or called ``raise_exception``, or that drops the final message.
        """
        if add_generation_prompt and continue_final_message:
            raise InputError("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        compiled = compile_chat_template(self.text)
        messages = [dict(message) for message in conversation.messages]
        final = str(messages[-1].get("content") or "").strip()
        if continue_final_message:
            if not final:
                raise InputError("continue_final_message needs a final message with text, and it has none")
            messages[-1]["content"] += _MARK
        if compiled.reads_parts:
            messages = [_with_parts(message) for message in messages]
        given = {"tools": None, "documents": None, "add_generation_prompt": add_generation_prompt}
        text = compiled.render(messages, given | dict(self.special_tokens), values)
        return _cut_at_mark(text, final) if continue_final_message else text


class _Compiled:
    """A compiled template. ``reads_parts``: it loops over a message's content, so that has to be a list of parts."""

    def __init__(self, text: str) -> None:
        from jinja2 import TemplateError, meta

        environment = jinja_environment()
        try:
            tree = environment.parse(text)
            self._names = frozenset(meta.find_undeclared_variables(tree))
            self.reads_parts = _loops_over_content(tree)
            self._template = environment.from_string(text)
        except TemplateError as error:
            raise InputError(f"the chat template is not valid jinja: {first_line(error)}") from error

    def render(self, messages: list[Message], given: Mapping[str, Any], more: Mapping[str, Any] | None) -> str:
        if reserved := sorted((RESERVED | _FIELDS) & set(more or {})):
            raise InputError(f"chat_template_kwargs contains reserved keys: {', '.join(reserved)}")
        if unread := sorted(set(more or {}) - self._names):
            raise InputError(f"the chat template reads no {', '.join(map(repr, unread))} (chat_template_kwargs)")
        try:
            return str(self._template.render(messages=messages, **{**given, **(more or {})}))
        except Exception as error:
            raise InputError(f"the chat template failed: {first_line(error)}") from error


@lru_cache(maxsize=32)
def compile_chat_template(text: str) -> _Compiled:
    """Compile a template once.

    Raises:
        InputError: not valid jinja.
    """
    return _Compiled(text)


def read_chat_template(folder: Path, *, has_images: bool = False) -> ChatTemplate | None:
    """The chat template of a bundle, from where transformers writes it; ``None`` where it has none.

    Args:
        folder: the bundle.
        has_images: the model is an image-text embedder; those have vLLM's plain template where they have no own.

    Raises:
        BundleError: one of the files is damaged.
    """
    tokens = read_special_tokens(folder)
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return ChatTemplate(path.read_text("utf-8"), tokens)
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{path} cannot be read ({error}); export the model again") from error
    for name in ("tokenizer_config.json", "chat_template.json"):
        stated = _read_json(folder / name).get("chat_template")
        if isinstance(stated, list):  # several, by name
            named = {item.get("name"): item.get("template") for item in stated if isinstance(item, Mapping)}
            stated = named.get("default")
        if isinstance(stated, str):
            return ChatTemplate(stated, tokens)
    return ChatTemplate(_PLAIN, tokens, is_plain=True) if has_images else None


def _with_parts(message: Message) -> Message:
    content = message.get("content")
    return message if content is None else {**message, "content": [{"type": "text", "text": content}]}


def _loops_over_content(tree: Any) -> bool:
    """Whether a template has a loop over a message's content (vLLM ``_detect_content_format``)."""
    from jinja2 import nodes

    def is_content(node: Any) -> bool:
        while isinstance(node, nodes.Filter):
            node = node.node
        if isinstance(node, nodes.Name):
            return node.name in names
        if isinstance(node, nodes.Getattr):
            return bool(node.attr == "content")
        return isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and node.arg.value == "content"

    names: set[str] = set()
    for assigned in tree.find_all(nodes.Assign):
        if isinstance(assigned.target, nodes.Name) and is_content(assigned.node):
            names.add(assigned.target.name)
    return any(is_content(loop.iter) for loop in tree.find_all(nodes.For))


def _cut_at_mark(text: str, final: str) -> str:
    mark = _MARK.strip()
    if final not in text or mark not in text:
        raise InputError("continue_final_message: the chat template drops a part of the final message, or all of it")
    at = text.rindex(mark)
    # Without the mark's space, the template strips its messages.
    return text[:at] if text[at : at + len(_MARK)] == _MARK else text[:at].rstrip()


def read_special_tokens(folder: Path) -> dict[str, str]:
    """The special tokens of a bundle by role (``bos_token``, …).

    Raises:
        BundleError: one of the files is damaged.
    """
    stated = {**_read_json(folder / "tokenizer_config.json"), **_read_json(folder / "special_tokens_map.json")}
    tokens = {}
    for name, value in stated.items():
        content = value.get("content") if isinstance(value, Mapping) else value
        if name.endswith("_token") and isinstance(content, str):
            tokens[name] = content
    return tokens


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}); export the model again") from error
    return content if isinstance(content, dict) else {}
