"""The two forms of a body that OpenAI's and vLLM's routes share: ``input``, and the chat ``messages``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ...chat import Conversation, read_conversation
from ...chat_template import ChatTemplate
from ...errors import InputError
from ...images import prepare
from ...prompting import with_prompt
from ...prompts import Prompt, parse_prompts
from ..exchange import Exchange
from ..media import read_media
from ..models import Served
from ..problems import BadRequest
from .common import RequestFields

Message = dict[str, Any]
Input = str | list[str | int | Message | list[int | Message]]
Messages = list[Message | list[Message]]


class ChatForm(Protocol):
    """The fields of a chat, of every body that has them."""

    messages: Messages | None
    add_special_tokens: bool | None
    add_generation_prompt: bool
    continue_final_message: bool
    chat_template: str | None
    chat_template_kwargs: dict[str, Any] | None


class PromptFields(RequestFields, kw_only=True):
    """What to run: ``input`` (a text, texts, token ids, lists of them) or ``messages`` (a conversation, or several).

    ``add_special_tokens`` is true for ``input`` and false for ``messages``, whose template writes them. ``prompt``
    and ``prompt_name`` choose the text before every text, as offline; vLLM has neither.
    """

    input: Input | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    prompt: str | None = None
    prompt_name: str | None = None


def read_prompts(exchange: Exchange, served: Served, body: PromptFields) -> tuple[list[Prompt], bool]:
    """Turn a body into prompts.

    Returns:
        The prompts, and whether the tokenizer adds its special tokens to them.

    Raises:
        BadRequest: neither or both forms, or an element of the wrong type.
        InputError: a prompt, a chat or an image that cannot be served.
        TooManyInputs: more prompts than one request may have.
    """
    if body.mm_processor_kwargs:
        raise BadRequest("mm_processor_kwargs are not supported: the preprocessing is the model's own",
                         "mm_processor_kwargs")  # fmt: skip
    if (body.input is None) == (body.messages is None):
        found = "neither" if body.input is None else "both"
        raise BadRequest(f"give either `input` or `messages`, got {found}", "input")
    name, given = ("messages", body.messages) if body.input is None else ("input", body.input)
    if _is_chat(given):
        if body.prompt or body.prompt_name:
            raise BadRequest("prompt and prompt_name go before the texts of `input`, not before a chat", "prompt")
        return chat_prompts(exchange, served, body, given, name)
    if body.messages is not None:
        raise BadRequest(f"messages must be a list of at least one message, got {given!r:.80}", "messages")
    _check_elements(given)
    is_one = isinstance(given, list) and bool(given) and isinstance(given[0], int)
    exchange.check_count("input", [given] if is_one else given)
    prompts = parse_prompts(given)
    policy = served.engine.tokenizer.policy
    prompts = with_prompt(prompts, policy, served.spec, body.prompt, body.prompt_name)
    return prompts, body.add_special_tokens is not False


def chat_prompts(
    exchange: Exchange, served: Served, body: ChatForm, messages: Any, name: str = "messages"
) -> tuple[list[Prompt], bool]:
    """Turn a conversation, or a list of them, into prompts.

    Returns:
        As ``read_prompts``.

    Raises:
        BadRequest: a template that came with the request and is not trusted, or a model without one.
        InputError: messages, values or images that cannot be served.
        TooManyInputs: more conversations than one request may have.
    """
    if isinstance(messages[0], list):
        exchange.check_count(name, messages)
        conversations = [read_conversation(item, f"{name}[{index}]") for index, item in enumerate(messages)]
    else:
        conversations = [read_conversation(messages, name)]
    template = _template(exchange, served, body)
    prompts = [
        _image_prompt(exchange, served, conversation, name)
        if conversation.images
        else Prompt(text=_rendered(conversation, template, body))
        for conversation in conversations
    ]
    is_plain = template is not None and template.is_plain
    return prompts, is_plain if body.add_special_tokens is None else body.add_special_tokens


def _rendered(conversation: Conversation, template: ChatTemplate | None, body: ChatForm) -> str:
    if template is None:
        raise BadRequest(
            'this model has no chat template: send the text as "input", or start the server with --chat-template FILE',
            "messages",
        )
    return template.render(
        conversation,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=body.continue_final_message,
        values=body.chat_template_kwargs,
    )


def _template(exchange: Exchange, served: Served, body: ChatForm) -> ChatTemplate | None:
    if body.chat_template is None:
        return served.chat
    if not exchange.config.trust_request_chat_template:
        raise BadRequest(
            "Chat template is passed with request, but --trust-request-chat-template is not set. "
            "Refused request with untrusted chat template.",
            "chat_template",
        )
    return ChatTemplate(body.chat_template, served.chat.special_tokens if served.chat is not None else {})


def _image_prompt(exchange: Exchange, served: Served, conversation: Conversation, name: str) -> Prompt:
    tower = served.engine.bundle.manifest.image
    if tower is None:
        raise InputError(f"this model takes text only; {name} holds an image (image_url)")
    if len(conversation.images) > 1:
        raise InputError(f"At most 1 image(s) may be provided in one prompt, got {len(conversation.images)}.")
    if conversation.text:
        # Said by `check_images` in vLLM's words, before anything is fetched.
        return Prompt(text=conversation.text, image=conversation.images[0])
    data = read_media(conversation.images[0], exchange.config, "image_url")
    return Prompt(text="", image=prepare(data, tower.policy))


def _is_chat(given: Any) -> bool:
    """Whether a list holds messages or conversations."""
    if not isinstance(given, list) or not given:
        return False
    first = given[0]
    return isinstance(first, Mapping) or (isinstance(first, list) and bool(first) and isinstance(first[0], Mapping))


def _check_elements(given: Any) -> None:
    """Refuse an empty list, and one whose elements are of several kinds.

    Raises:
        BadRequest: there is none; or names the first element that differs.
    """
    if not isinstance(given, list):
        return
    if not given:
        raise BadRequest("You must pass at least one prompt, got input=[]", "input")
    kinds = {int: "an integer", str: "a string", list: "a list of integers"}
    first = type(given[0])
    for index, item in enumerate(given):
        if type(item) is not first:
            raise _odd(f"input[{index}]", kinds.get(first, "of the first element's type"), item)
        if isinstance(item, list):
            _check_ids(item, index)


def _check_ids(ids: Sequence[Any], index: int) -> None:
    for place, number in enumerate(ids):
        if not isinstance(number, int):
            raise _odd(f"input[{index}][{place}]", "an integer", number)


def _odd(where: str, expected: str, found: Any) -> BadRequest:
    shown = msgspec.json.encode(found).decode()
    return BadRequest(f"{where} must be {expected}, as input[0] is; got {shown:.80}", where)
