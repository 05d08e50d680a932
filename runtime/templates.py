"""The jinja of templates, and score templates: a query and a document as the one text that a reranker reads.

vLLM's score templates (``get_score_prompt``): jinja with two ``messages``, role ``query`` and role
``document``, and further values by name (``instruction``). The environment is the one that
transformers renders chat templates in: sandboxed, ``trim_blocks`` and ``lstrip_blocks``, loop
controls, and ``raise_exception``, ``strftime_now``, ``tojson``.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn

from .errors import InputError

# vLLM refuses these names: they would be arguments of the renderer and not of the template.
RESERVED = frozenset({"chat_template", "messages", "tokenize", "tools"})
_PROBES = ("a probe of the query", "a probe of the document")


class ScoreTemplate:
    """A compiled template.

    Attributes:
        variables: names of the values it reads, ``messages`` excepted.
    """

    def __init__(self, text: str) -> None:
        """Compile a template and render it once.

        Raises:
            InputError: not a template, one that fails, or one that leaves out the query or the document.
        """
        from jinja2 import TemplateError, meta

        environment = jinja_environment()
        try:
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(text))) - {"messages"}
            self._template = environment.from_string(text)
        except TemplateError as error:
            raise InputError(f"the score template is not valid jinja: {first_line(error)}") from error
        self.variables -= environment.globals.keys()
        probe = self.render(*_PROBES)
        for role, said in zip(("query", "document"), _PROBES, strict=True):
            if said not in probe:
                raise InputError(
                    f"the score template leaves out the {role}; expected jinja that writes the content of both "
                    "`messages`, role `query` and role `document`"
                )

    def render(self, query: str, document: str, values: Mapping[str, Any] | None = None) -> str:
        """Render one pair.

        Raises:
            InputError: the template failed, or called ``raise_exception``.
        """
        messages = [{"role": "query", "content": query}, {"role": "document", "content": document}]
        try:
            text: str = self._template.render(messages=messages, **(values or {}))
        except Exception as error:
            raise InputError(f"the score template failed: {first_line(error)}") from error
        return text

    def values(self, instruction: str | None, more: Mapping[str, Any] | None) -> dict[str, Any]:
        """Collect what a request gives to the template; a key of ``more`` wins over ``instruction`` (vLLM's rule).

        Raises:
            InputError: a reserved name, or a value the template does not read. (vLLM drops the latter
                without a word; an instruction that changes nothing is a mistake worth hearing of.)
        """
        if more is not None and not isinstance(more, Mapping):
            raise InputError(f"chat_template_kwargs must be a mapping, got {more!r:.80}")
        if reserved := sorted(RESERVED & set(more or {})):
            raise InputError(f"chat_template_kwargs contains reserved keys: {', '.join(reserved)}")
        values = {} if instruction is None else {"instruction": instruction}
        values |= dict(more or {})
        if unread := sorted(set(values) - self.variables):
            known = ", ".join(sorted(self.variables)) or "none"
            raise InputError(f"the score template reads no {', '.join(map(repr, unread))}; values it reads: {known}")
        return values


@lru_cache(maxsize=32)
def compiled(text: str) -> ScoreTemplate:
    """Compile a template once.

    Raises:
        InputError: as ``ScoreTemplate``.
    """
    return ScoreTemplate(text)


@lru_cache(maxsize=1)
def jinja_environment() -> Any:
    """The environment of every template, score and chat, by transformers' ``chat_template_utils.py``."""
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what an assistant said, for training; here it is written like the rest."""

        tags = {"generation"}  # noqa: RUF012  (jinja declares it so)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda shape: datetime.datetime.now().strftime(shape)
    return environment


def _raise_exception(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, **layout: Any) -> str:
    # jinja's own filter escapes for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, **layout)


def first_line(error: Exception) -> str:
    """One line; where the fault is, if jinja knows."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    number = getattr(error, "lineno", None)
    return f"line {number}: {line}" if number else line
