"""What a JSON schema asks for, in words: for messages about a wrong field and for the API's documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

Schema = Mapping[str, Any]
Step = str | int

REF = "#/components/schemas/"

# JSON type: one of them, and several.
_NOUNS = {
    "string": ("a string", "strings"),
    "integer": ("an integer", "integers"),
    "number": ("a number", "numbers"),
    "boolean": ("true or false", "booleans"),
    "object": ("an object", "objects"),
    "null": ("null", "nulls"),
}
# JSON Schema's bounds, and what they bound.
_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"),
    ("minItems", "length at least {}"),
    ("maxItems", "length at most {}"),
    ("minLength", "length at least {}"),
    ("maxLength", "length at most {}"),
)


def components_of(shapes: Sequence[Any]) -> tuple[list[Schema], dict[str, Any]]:
    """Schemas of types (JSON Schema 2020-12, which OpenAPI 3.1 takes as it is), and what they refer to."""
    schemas, components = msgspec.json.schema_components(shapes, ref_template=REF + "{name}")
    return list(schemas), dict(components)


@lru_cache(maxsize=64)
def schema_of(shape: Any) -> tuple[Schema, Mapping[str, Any]]:
    """Schema of one type, and what it refers to."""
    (schema,), components = components_of((shape,))
    return schema, components


def resolved(schema: Schema, components: Mapping[str, Any]) -> Schema:
    """Follow a reference."""
    name = schema.get("$ref")
    found: Schema = components[name.removeprefix(REF)] if name else schema
    return found


def branches(schema: Schema, components: Mapping[str, Any]) -> Iterator[Schema]:
    """Every alternative that a value may be."""
    schema = resolved(schema, components)
    for choice in schema.get("anyOf", schema.get("oneOf", ())):
        yield from branches(choice, components)
    if "anyOf" not in schema and "oneOf" not in schema:
        yield schema


def inside(schema: Schema, components: Mapping[str, Any], steps: Sequence[Step]) -> list[Schema]:
    """The schemas that a place within a value may have: none where the schema does not know the place."""
    found = list(branches(schema, components))
    for step in steps:
        found = [part for choice in found for part in _parts(choice, components, step)]
    return found


def _parts(choice: Schema, components: Mapping[str, Any], step: Step) -> Iterator[Schema]:
    if isinstance(step, int):
        child = choice.get("items")
    else:
        child = choice.get("properties", {}).get(step, choice.get("additionalProperties"))
    if isinstance(child, Mapping):
        yield from branches(child, components)


def in_words(schemas: Sequence[Schema], components: Mapping[str, Any], several: bool = False) -> str:
    """Say what is expected: ``an integer (at least -1), or null``."""
    words = dict.fromkeys(
        _one(part, components, several) for schema in schemas for part in branches(schema, components)
    )
    null = words.pop("null", False) is None
    *first, last = words or {"null": None}
    text = f"{', '.join(first)} or {last}" if first else last
    return f"{text}, or null" if null and words else text


def _one(schema: Schema, components: Mapping[str, Any], several: bool) -> str:
    if "const" in schema or "enum" in schema:
        values = [shown(value) for value in schema.get("enum", [schema.get("const")])]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if schema.get("type") == "array":
        items = schema.get("items")
        of = f" of {in_words([items], components, several=True)}" if items else ""
        text = f"{'lists' if several else 'a list'}{of}"
    else:
        text = _NOUNS.get(schema.get("type", ""), ("any value", "any values"))[several]
    bounds = [say.format(schema[key]) for key, say in _BOUNDS if key in schema]
    return f"{text} ({', '.join(bounds)})" if bounds else text


def shown(value: Any, most: int = 80) -> str:
    """A JSON value, cut where it is long."""
    text = msgspec.json.encode(value).decode("utf-8", "replace")
    return text if len(text) <= most else text[: most - 1] + "…"
