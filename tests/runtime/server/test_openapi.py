"""The OpenAPI document against the route table."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis

from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.field_notes import EXAMPLES, FIELD_NOTES
from pool_export.runtime.server.openapi import ERRORS, document, reachable, reason, statuses_of
from pool_export.runtime.server.problems import TABLE
from pool_export.runtime.server.routes import ROUTES

OPEN = document(ROUTES, ServerConfig())
KEYED = document(ROUTES, ServerConfig(api_key="secret", max_inputs=7, max_body=1000))
SCHEMAS = OPEN["components"]["schemas"]


@pytest.mark.parametrize("api", [OPEN, KEYED], ids=["open", "keyed"])
def test_is_openapi_3_1(api: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(api).validate()
    operations = [operation for methods in api["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in api["tags"]}


def test_an_invalid_document_would_be_seen() -> None:
    with pytest.raises(Exception, match="is a required property"):
        schemathesis.openapi.from_dict({**OPEN, "info": {"title": "no version"}}).validate()


def test_has_every_route_and_no_other() -> None:
    declared = {(path, route.method.lower()) for route in ROUTES for path in route.paths}
    assert {(path, method) for path, methods in OPEN["paths"].items() for method in methods} == declared


def test_every_status_of_the_table_of_errors_has_a_reason() -> None:
    # Nobody reads 499, and 431 is said before a route is known.
    ours = {problem.status for _, problem in TABLE} - {499, 431}
    assert ours == {status for route in ROUTES for status in statuses_of(route, True)}
    assert all(reason(status, ServerConfig()) for status in ours)
    assert {route.dialect for route in ROUTES} <= set(ERRORS)


def test_keys_are_asked_for_on_the_routes_that_compute_and_only_with_keys() -> None:
    assert "securitySchemes" not in OPEN["components"]
    for route in ROUTES:
        keyed = KEYED["paths"][route.paths[0]][route.method.lower()]
        assert ("security" in keyed) is route.computes
        assert ("401" in keyed["responses"]) is route.computes
        assert "security" not in OPEN["paths"][route.paths[0]][route.method.lower()]


def test_limits_in_force_are_named() -> None:
    said = KEYED["paths"]["/v1/embeddings"]["post"]["responses"]
    assert "1000 bytes" in said["413"]["description"]
    assert "More than 7 " in said["422"]["description"]
    assert "Retry-After".lower() in said["429"]["headers"]


def test_a_body_of_two_forms_says_so() -> None:
    forms = {"input": ["input"], "messages": ["messages"]}
    found = SCHEMAS["EmbeddingRequest"].get("anyOf", [])
    assert [form["required"] for form in found] == list(forms.values())
    assert "anyOf" not in SCHEMAS["DetokenizeRequest"]


def test_every_field_of_a_request_is_explained() -> None:
    operations = [operation for methods in OPEN["paths"].values() for operation in methods.values()]
    contents = [operation["requestBody"]["content"] for operation in operations if "requestBody" in operation]
    bodies = [content["application/json"]["schema"] for content in contents]
    missing = [
        f"{name}.{field}"
        for name in reachable(bodies, SCHEMAS)
        for field, schema in SCHEMAS[name].get("properties", {}).items()
        if "description" not in schema and "$ref" not in schema
    ]
    assert missing == [], "describe it with msgspec.Meta, or in runtime/server/field_notes.py"


def test_every_note_is_some_fields() -> None:
    fields = {field for schema in SCHEMAS.values() for field in schema.get("properties", {})}
    parts = {"role", "content", "type", "text", "cache_salt"}  # of messages, which are read by the chat code
    assert set(FIELD_NOTES) - fields - parts == set()


def test_every_body_has_an_example() -> None:
    assert {path for route in ROUTES if route.body is not None for path in route.paths} == set(EXAMPLES)
