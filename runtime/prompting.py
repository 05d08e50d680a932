"""Prompts of an embedding model: the text put before a text, by sentence-transformers' rules.

An explicit ``prompt`` wins, then ``prompt_name``, then the checkpoint's ``default_prompt_name``
(``_resolve_prompt`` in sentence-transformers 6.2 ``base/model.py``). vLLM never applies one; the
checkpoint says so, so its default is applied here, and ``prompt=""`` switches it off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..poolers.errors import closest
from ..poolers.spec import PoolingSpec
from .errors import InputError
from .manifest import TokenizerPolicy
from .prompts import Prompt


def resolve_prompt(policy: TokenizerPolicy, prompt: str | None, prompt_name: str | None) -> str:
    """The text that goes before every text of a call; empty for none.

    Raises:
        InputError: an unknown name, or a prompt that is not a string.
    """
    if prompt is not None:
        if not isinstance(prompt, str):
            raise InputError(f"prompt must be a string, got {prompt!r:.80}")
        return prompt
    if prompt_name is None:
        return policy.prompts.get(policy.default_prompt_name or "", "")
    if prompt_name not in policy.prompts:
        if not policy.prompts:
            raise InputError(f"prompt_name {prompt_name!r} was given, and this model has no prompts; use prompt=TEXT")
        shown = closest(str(prompt_name), policy.prompts)
        raise InputError(f"prompt_name {prompt_name!r} is not one of {list(policy.prompts)}{shown}")
    return policy.prompts[prompt_name]


def with_prompt(
    prompts: Sequence[Prompt],
    policy: TokenizerPolicy,
    spec: PoolingSpec,
    prompt: str | None = None,
    prompt_name: str | None = None,
) -> list[Prompt]:
    """Put the prompt of a call before its texts; token ids run as they are.

    Raises:
        InputError: as ``resolve_prompt``; a prompt asked for beside token ids, or for a model that
            does not embed.
    """
    asked = prompt_name is not None or bool(prompt)
    if spec.convert != "embed":
        if asked:
            raise InputError(f"prompts are for embedding models; this one was exported with convert={spec.convert}")
        return list(prompts)
    text = resolve_prompt(policy, prompt, prompt_name)
    if not text:
        return list(prompts)
    return [_prefixed(item, text, spec, asked) for item in prompts]


def _prefixed(item: Prompt, text: str, spec: PoolingSpec, asked: bool) -> Prompt:
    if item.token_ids is not None:
        if asked:
            raise InputError("a prompt cannot be put before token ids; give the text, or leave the prompt out")
        return item
    return dataclasses.replace(item, text=text + (item.text or ""), unpooled="" if spec.include_prompt else text)
