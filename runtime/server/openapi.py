"""The API's OpenAPI 3.1 document, made from the route table."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import msgspec

from .config import ServerConfig
from .field_notes import EXAMPLES, FIELD_NOTES, FORMS
from .problems import Dialect
from .route import Route
from .shapes import REF, branches, components_of


class ErrorFields(msgspec.Struct, kw_only=True):
    """What went wrong: `message` names the field, its value and the limit; `param` is the field."""

    message: str
    type: str
    param: str | None = None
    code: int


class OpenAIError(ErrorFields, kw_only=True):
    """An error, in the shape that OpenAI's clients read (under `error`) and in the flat one of vLLM 0.11."""

    object: Literal["error"] = "error"
    error: ErrorFields


class TeiError(msgspec.Struct, kw_only=True):
    """An error in TEI's shape."""

    error: str
    error_type: str


ERRORS: dict[Dialect, Any] = {"openai": OpenAIError, "tei": TeiError}

TAGS = {
    "OpenAI": "OpenAI's routes, with vLLM's fields.",
    "vLLM": "vLLM's routes for pooling models.",
    "Jina": "Documents ranked by a query, in the shape that Jina, Cohere and vLLM share.",
    "Cohere": "Cohere's routes.",
    "TEI": "Routes of Hugging Face's text-embeddings-inference.",
    "Server": "The server itself. These routes ask for no key.",
}

_HEADERS: dict[str, str] = {
    "x-request-id": "The request's `X-Request-Id`, or a new one; the log has it.",
    "server-timing": "Milliseconds of tokenizing, waiting, the forward pass, and all of it (W3C Server-Timing).",
    "retry-after": "Seconds after which to try again.",
    "www-authenticate": "`Bearer`.",
}


def document(routes: Sequence[Route], config: ServerConfig) -> dict[str, Any]:
    """Describe the routes.

    Args:
        routes: the route table.
        config: the server's options: limits are named, and keys are asked for where there are some.

    Returns:
        The document, as JSON (OpenAPI 3.1.0).
    """
    shapes = [shape for route in routes for shape in (route.body, route.answer) if shape is not None]
    schemas, components = components_of([*shapes, *ERRORS.values()])
    known = dict(zip([*map(_key, shapes), *map(_key, ERRORS.values())], schemas, strict=True))
    _describe_fields([known[_key(route.body)] for route in routes if route.body is not None], components)
    secured = has_keys(config)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in route.paths:
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, config, known)
    parts: dict[str, Any] = {"schemas": components}
    parts["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}
    if secured:
        parts["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pool-export",
            "version": version("pool-export"),
            "summary": "Pooling models (embed, classify, score, rerank, reward) over HTTP",
            "description": _about(config),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "this server"}],
        "tags": [{"name": tag, "description": TAGS[tag]} for tag in dict.fromkeys(r.tag for r in routes)],
        "paths": paths,
        "components": parts,
    }


def has_keys(config: ServerConfig) -> bool:
    """Whether clients are asked for a key."""
    return config.api_key is not None or config.api_key_file is not None


def statuses_of(route: Route, secured: bool) -> tuple[int, ...]:
    """The errors that a route may answer with."""
    found = {500, *route.statuses}
    if route.body is not None:
        found |= {400, 408, 413}
    if "model" in getattr(route.body, "__struct_fields__", ()):
        found |= {404}
    if route.computes:
        found |= {400, 404, 422, 429, 501, 503, 504} | ({401} if secured else set())
    return tuple(sorted(found))


def reason(status: int, config: ServerConfig) -> str:
    """When a status is answered, with the limit that is in force."""
    return {
        400: "The body is no JSON, or a field has a value that cannot be served; `message` names both.",
        401: "No API key, or an unknown one.",
        404: "No model of that name is served here.",
        408: f"The body was not sent within {config.read_timeout:g} seconds.",
        413: f"The body has more than {config.max_body} bytes.",
        422: f"More than {config.max_inputs} texts, pairs or images in one request.",
        429: "The server is full: too many requests, or too many tokens that wait.",
        500: "The request failed in the server; its log has the cause under the request's id.",
        501: "An optional part is not installed (images need Pillow).",
        503: "The server is starting, stopping, or its forward passes fail.",
        504: f"Not answered within {config.request_timeout:g} seconds.",
    }[status]


def _about(config: ServerConfig) -> str:
    lines = [
        "`model` picks one of the served models; without it, the first one that has the route's task answers.",
        "Unknown fields are ignored, and numbers may be strings, as in vLLM.",
        f"One request holds at most {config.max_inputs} inputs and {config.max_body} bytes.",
    ]
    if has_keys(config):
        lines.append("Routes that run a model ask for a key: `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
    return " ".join(lines)


def _key(shape: Any) -> str:
    return repr(shape)


def _operation(route: Route, path: str, config: ServerConfig, known: Mapping[str, Any]) -> dict[str, Any]:
    secured = has_keys(config)
    answers = {"200": _answer(route, known)}
    for status in statuses_of(route, secured):
        schema = known[_key(ERRORS[route.dialect])]
        answers[str(status)] = {
            "description": reason(status, config),
            "headers": _headers(route, status),
            "content": {"application/json": {"schema": schema}},
        }
    found: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{path.replace('/', '_').replace('.', '_')}",
        "summary": route.summary,
        "description": (inspect.getdoc(route.handle) or "").partition("\n\n")[0],
        "tags": [route.tag],
        "responses": answers,
    }
    if route.body is not None:
        content: dict[str, Any] = {"schema": known[_key(route.body)]}
        if (example := EXAMPLES.get(path)) is not None:
            content["examples"] = {"simple": {"summary": route.summary, "value": example}}
        found["requestBody"] = {"required": True, "content": {"application/json": content}}
    if secured and route.computes:
        found["security"] = [{"bearer": []}, {"header": []}]
    return found


def _answer(route: Route, known: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": "The answer.", "headers": _headers(route, 200)}
    content: dict[str, Any] = {}
    for media in route.media:
        if media == "application/json":
            content[media] = {"schema": known[_key(route.answer)] if route.answer is not None else {}}
        else:
            content[media] = {"schema": {"type": "string"}} if media.startswith("text/") else {}
    if content:
        found["content"] = content
    return found


def _headers(route: Route, status: int) -> dict[str, Any]:
    names = ["x-request-id"]
    names += ["server-timing"] if route.computes else []
    names += ["retry-after"] if status in (429, 503) else []
    names += ["www-authenticate"] if status == 401 else []
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _describe_fields(bodies: Sequence[Any], components: dict[str, Any]) -> None:
    """Say what each field of a request is for, where its declaration does not, and which sets of fields it needs."""
    for name in sorted(reachable(bodies, components)):
        if forms := _forms_of(components[name]):
            fields = components[name]["properties"]
            components[name]["anyOf"] = [
                {"required": list(form), "properties": {key: _not_null(fields[key], components) for key in form}}
                for form in forms
            ]
        for field, schema in components[name].get("properties", {}).items():
            if "description" not in schema and field in FIELD_NOTES:
                schema["description"] = FIELD_NOTES[field]


def _forms_of(body: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    optional = body.get("properties", {}).keys() - set(body.get("required", ()))
    return next((forms for forms in FORMS if optional.issuperset(name for form in forms for name in form)), ())


def _not_null(schema: Any, components: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": sorted({part["type"] for part in branches(schema, components) if part["type"] != "null"})}


def reachable(schemas: Sequence[Any], components: Mapping[str, Any]) -> list[str]:
    """Names of the components that schemas refer to, and those that they refer to, in the order they are met."""
    names: dict[str, None] = {}
    waiting = list(schemas)
    while waiting:
        for name in references(waiting.pop(0)):
            if name not in names:
                names[name] = None
                waiting.append(components[name])
    return list(names)


def references(schema: Any) -> Iterator[str]:
    """Names of the components that a schema itself refers to."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield str(schema["$ref"]).removeprefix(REF)
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)
