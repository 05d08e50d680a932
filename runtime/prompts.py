"""What a caller may pass as a prompt (vLLM's ``PromptType``), normalised to one dataclass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import InputError
from .images import image_of

# Keys vLLM accepts beside the prompt itself that change nothing here.
_IGNORED_KEYS = frozenset({"cache_salt"})


class PromptTypeError(InputError, TypeError):
    """A prompt of the wrong Python type (vLLM raises ``TypeError``)."""


@dataclass(frozen=True)
class Prompt:
    """One input: text, a pair of texts, token ids (run as they are, no special tokens added), or an image.

    ``unpooled`` is the beginning of ``text`` (a prompt) whose tokens stay out of pooling.
    """

    text: str | None = None
    pair: str | None = None
    token_ids: tuple[int, ...] | None = None
    unpooled: str = ""
    image: Any = field(default=None, compare=False)


def parse_prompts(prompts: Any) -> list[Prompt]:
    """Normalise one prompt or a list of prompts.

    Accepts ``str``, ``list[int]``, ``{"prompt": str}``, ``{"prompt_token_ids": [int]}``,
    ``{"prompt": "", "multi_modal_data": {"image": …}}`` and lists of these.

    Raises:
        PromptTypeError: any other type.
        InputError: an empty list.
    """
    if _is_single(prompts):
        return [_parse_one(prompts)]
    if not isinstance(prompts, Sequence):
        raise PromptTypeError(f"Prompt should be a string, list of tokens, or dictionary, got {type(prompts).__name__}")
    if not prompts:
        raise InputError("You must pass at least one prompt")
    return [_parse_one(item) for item in prompts]


def parse_texts(texts: Any, what: str) -> list[str]:
    """Normalise one side of ``score``: a string or a list of strings.

    Raises:
        PromptTypeError: an element is not a string.
        InputError: an empty list.
    """
    if not isinstance(texts, str | Mapping | Iterable):
        raise PromptTypeError(f"{what} should be a string or a list of strings, got {type(texts).__name__}")
    items = [texts] if isinstance(texts, str | Mapping) else list(texts)
    if not items:
        raise InputError(f"At least one {what} element must be given")
    out = []
    for item in items:
        text = item.get("prompt", item.get("text")) if isinstance(item, Mapping) else item
        if not isinstance(text, str):
            raise PromptTypeError(f"{what} should be a string, got {type(item).__name__}: {item!r:.80}")
        out.append(text)
    return out


def _is_single(prompts: Any) -> bool:
    if isinstance(prompts, str | Mapping):
        return True
    return isinstance(prompts, list | tuple) and bool(prompts) and all(_is_int(item) for item in prompts)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _parse_one(prompt: Any) -> Prompt:
    if isinstance(prompt, str):
        return Prompt(text=prompt)
    if isinstance(prompt, Mapping):
        return _parse_mapping(prompt)
    if isinstance(prompt, list | tuple):
        if not all(_is_int(item) for item in prompt):
            raise PromptTypeError("Token prompt should be a list of integers")
        return Prompt(token_ids=tuple(prompt))
    raise PromptTypeError(f"Prompt should be a string, list of tokens, or dictionary, got {type(prompt).__name__}")


def _parse_mapping(prompt: Mapping[str, Any]) -> Prompt:
    keys = set(prompt) - _IGNORED_KEYS
    if "multi_modal_data" in keys:
        image = image_of(prompt)
        rest = {key: prompt[key] for key in keys if not key.startswith(("multi_modal_", "mm_"))}
        return replace(_parse_mapping(rest or {"prompt": ""}), image=image)
    if keys == {"prompt"}:
        if not isinstance(prompt["prompt"], str):
            raise PromptTypeError("Prompt text should be a string")
        return Prompt(text=prompt["prompt"])
    if "prompt_token_ids" in keys and keys <= {"prompt", "prompt_token_ids"}:
        if not isinstance(prompt["prompt_token_ids"], list | tuple):
            raise PromptTypeError("Token prompt should be a list of integers")
        return _parse_one(prompt["prompt_token_ids"])
    shown = sorted(map(str, prompt))
    raise PromptTypeError(f"Prompt dictionary must contain `prompt` or `prompt_token_ids`, got keys {shown}")
