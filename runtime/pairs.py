"""From a query and a document to a cross-encoder's input: score template, pair, or concatenation.

vLLM's order (``get_score_prompt`` in ``entrypoints/pooling/scoring/io_processor.py``). One thing
differs: where a rendered template is too long and truncation was asked for, vLLM cuts its tail,
which is the question to the model; here the document is shortened until the whole fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..poolers.spec import PairFormat
from .errors import InputError
from .prompts import Prompt
from .templates import ScoreTemplate, compiled
from .tokens import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """What one ``score`` call says about its pairs, under vLLM's names.

    Attributes:
        chat_template: score template (jinja text) instead of the bundle's.
        instruction: value of the template's ``instruction``.
        chat_template_kwargs: further values for the template; a key here wins over ``instruction``.
        max_tokens_per_query: cut each query to this many tokens first; 0 leaves it.
        max_tokens_per_doc: cut each document likewise.
        query_prompt_name, document_prompt_name: prompts of an embedding model's two sides.
    """

    chat_template: str | None = None
    instruction: str | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    max_tokens_per_query: int = 0
    max_tokens_per_doc: int = 0
    query_prompt_name: str | None = None
    document_prompt_name: str | None = None

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """Refuse options that this model cannot use.

        Raises:
            InputError: names the first that was given.
        """
        for name in names:
            if getattr(self, name) is not None:
                raise InputError(f"{name} was given, {why}")


TEMPLATE_OPTIONS = ("chat_template", "instruction", "chat_template_kwargs")
PROMPT_OPTIONS = ("query_prompt_name", "document_prompt_name")


def trimmed(texts: list[str], tokenizer: TextTokenizer, name: str, limit: int) -> list[str]:
    """Cut texts to so many tokens, special ones not counted (``max_tokens_per_query``, ``max_tokens_per_doc``).

    Raises:
        InputError: a limit outside ``[0, max_model_len)``.
    """
    if type(limit) is not int or not 0 <= limit < tokenizer.max_length:
        raise InputError(f"{name} must be in [0, {tokenizer.max_length - 1}] (0 is no limit), got {limit!r}")
    return [trim(text, tokenizer, limit) for text in texts] if limit else texts


def trim(text: str, tokenizer: TextTokenizer, limit: int) -> str:
    """Keep the beginning of a text that is at most ``limit`` (at least 1) tokens long.

    Cut by character offsets: decoded tokens need not be the text they came from.
    """
    while len(spans := tokenizer.spans(text)) > limit:
        end = min(spans[limit - 1][1], spans[limit][0])
        text = text[: min(end, len(text) - 1)]  # always shorter, so that this ends
    return text


def pair_prompt(query: str, document: str, pair_format: PairFormat) -> Prompt:
    """One cross-encoder input: the tokenizer's own pair, or plain concatenation."""
    if pair_format == "concat":
        return Prompt(text=query + document)
    return Prompt(text=query, pair=document)


def template_of(tokenizer: TextTokenizer, options: PairOptions) -> tuple[ScoreTemplate, dict[str, Any]] | None:
    """The template of a call and the values for it; ``None`` where neither bundle nor call has one.

    Raises:
        InputError: a template that is not one, or a value no template takes.
    """
    text = options.chat_template if options.chat_template is not None else tokenizer.policy.score_template
    if text is None:
        why = "and this model has no score template; export it with --score-template, or give chat_template"
        options.refuse(TEMPLATE_OPTIONS, why)
        return None
    if not isinstance(text, str):
        raise InputError(f"chat_template must be the text of a jinja template, got {text!r:.80}")
    template = compiled(text)
    return template, template.values(options.instruction, options.chat_template_kwargs)


def templated_prompt(
    query: str,
    document: str,
    tokenizer: TextTokenizer,
    template: ScoreTemplate,
    values: Mapping[str, Any],
    limit: int | None = None,
) -> Prompt:
    """Render one pair; with a limit, the document is shortened until the text fits into so many tokens.

    Raises:
        InputError: the template failed, or nothing of the document would be left.
    """

    def render(shortened: str) -> Prompt:
        return Prompt(text=template.render(query, shortened, values))

    prompt = render(document)
    return prompt if limit is None else _fitted(prompt, render, document, tokenizer, limit)


def _fitted(
    prompt: Prompt, render: Callable[[str], Prompt], document: str, tokenizer: TextTokenizer, limit: int
) -> Prompt:
    room: int | None = None
    while (over := tokenizer.count(prompt) - limit) > 0:
        room = (len(tokenizer.spans(document)) if room is None else room) - over
        if room < 1:
            raise InputError(
                f"the score template and the query leave no room for the document: without it they take "
                f"{tokenizer.count(render(''))} of {limit} tokens; shorten the query (max_tokens_per_query)"
            )
        prompt = render(trim(document, tokenizer, room))
    return prompt
