"""The page at ``/docs``: the OpenAPI document, rendered for people. No script, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from .config import ServerConfig
from .field_notes import EXAMPLES, FIELD_NOTES
from .openapi import document, has_keys, reachable, reason, references, statuses_of
from .route import Route
from .shapes import in_words, resolved, shown

_FOLDER = files(__package__) / "templates"
_STYLE = (_FOLDER / "docs.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# The one style sheet is within the page and named by its hash; nothing else is loaded or run.
POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
_PLACES = {name: place for place, name in enumerate(FIELD_NOTES)}
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


def _marked(text: str) -> Markup:
    """Escape a text; what it has between backticks becomes code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(parts)
    )


_ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.filters["marked"] = _marked
_TEMPLATE = _ENVIRONMENT.from_string((_FOLDER / "docs.html.jinja").read_text("utf-8"))


@dataclass(frozen=True)
class Field:
    """One row of a table of fields."""

    name: str
    type: str
    required: bool
    default: str
    note: str
    refers: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One route of the page."""

    route: Route
    anchor: str
    about: str
    fields: Mapping[str, list[Field]]
    answers: Mapping[str, list[Field]]
    errors: list[tuple[int, str]]
    curl: str
    forms: list[str]


def render(routes: Sequence[Route], config: ServerConfig, host: str) -> bytes:
    """Make the page.

    Args:
        routes: the route table.
        config: the server's options, for the limits that are in force.
        host: the ``Host`` header, for examples that can be pasted.
    """
    api = document(routes, config)
    base = f"http://{host if _HOST.fullmatch(host) else f'127.0.0.1:{config.listen_port}'}"
    tags = [
        (tag, [_section(route, api, config, base) for route in routes if route.tag == tag["name"]])
        for tag in api["tags"]
    ]
    html = _TEMPLATE.render(info=api["info"], tags=tags, style=_STYLE, base=base, asks_for_key=has_keys(config))
    return html.encode()


def _section(route: Route, api: Mapping[str, Any], config: ServerConfig, base: str) -> Section:
    operation = api["paths"][route.paths[0]][route.method.lower()]
    components = api["components"]["schemas"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answer = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
    secured = has_keys(config)
    return Section(
        route=route,
        anchor=operation["operationId"],
        about=operation["description"],
        fields={name: sorted(rows, key=_place) for name, rows in _tables(body, components)},
        answers=dict(_tables(answer, components)),
        errors=[(status, reason(status, config)) for status in statuses_of(route, secured)],
        curl=_curl(route, base, secured),
        forms=[" and ".join(f"`{name}`" for name in form["required"]) for form in _forms(body, components)],
    )


def _forms(body: Mapping[str, Any] | None, components: Mapping[str, Any]) -> list[Any]:
    """The sets of fields of which a body needs one."""
    return list(resolved(body, components).get("anyOf", ())) if body else []


def _tables(schema: Mapping[str, Any] | None, components: Mapping[str, Any]) -> Iterator[tuple[str, list[Field]]]:
    """One table for each object that a body or an answer is made of, the outermost first."""
    for name in reachable([schema] if schema else [], components):
        part = components[name]
        required = part.get("required", ())
        rows = [
            _field(field, about, field in required, components) for field, about in part.get("properties", {}).items()
        ]
        if rows:
            yield name, rows


def _place(row: Field) -> tuple[bool, int]:
    """What is required first, then by the order of the notes."""
    return not row.required, _PLACES.get(row.name, 0)


def _field(name: str, schema: Mapping[str, Any], required: bool, components: Mapping[str, Any]) -> Field:
    note = schema.get("description") or resolved(schema, components).get("description", "")
    choices = schema.get("anyOf", ())
    note = note or next((part["description"] for part in choices if "description" in part), "")
    default = "" if required or "default" not in schema else shown(schema["default"])
    return Field(
        name, in_words([schema], components), required, default, note, tuple(dict.fromkeys(references(schema)))
    )


def _curl(route: Route, base: str, secured: bool) -> str:
    parts = ["curl", *(["-X", route.method] if route.method != "GET" and route.body is None else [])]
    lines = [f"{shlex.join(parts)} {base}{route.paths[0]}"]
    if secured and route.computes:
        lines.append("-H 'Authorization: Bearer KEY'")
    if route.body is not None:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(json.dumps(EXAMPLES.get(route.paths[0], {}), ensure_ascii=False))}")
    return " \\\n  ".join(lines)
