"""Requests that schemathesis makes up from the OpenAPI document: valid ones, ones at the edges, ones that break a rule.

No answer may be a 5xx, have a status, a header, a content type or a body that the document does not declare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import JsonSchemaError, UndefinedStatusCode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.openapi import document
from pool_export.runtime.server.route import Route
from pool_export.runtime.server.routes import ROUTES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def _generated(examples: int, phases: list[str], keep: Callable[[Route], tuple[str, ...]]) -> Callable[[Any], Any]:
    """Give a test the cases of the document; `coverage` is the edges of every field, `fuzzing` random bodies."""
    schema = schemathesis.openapi.from_dict(document(ROUTES, ServerConfig()))
    schema.config.generation.update(deterministic=True, max_examples=examples)
    schema.config.phases.update(phases=phases)
    paths = [path for route in ROUTES for path in keep(route)]
    bounded = settings(
        max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    return lambda test: schema.include(path=paths).parametrize()(bounded(test))


@pytest.fixture(scope="module")
def session() -> Any:
    with requests.Session() as session:
        yield session


@_generated(8, ["examples", "fuzzing"], lambda route: route.paths[:1])
def test_no_answer_breaks_the_document(case: Any, live: Any, session: requests.Session) -> None:
    case.call_and_validate(base_url=live.url, session=session, checks=CHECKS)


@pytest.mark.slow
@_generated(200, ["examples", "coverage", "fuzzing"], lambda route: route.paths)
def test_no_answer_of_many_breaks_the_document(case: Any, live: Any, session: requests.Session) -> None:
    case.call_and_validate(base_url=live.url, session=session, checks=CHECKS)


@pytest.mark.parametrize(("broken", "expected"), [("status", UndefinedStatusCode), ("body", JsonSchemaError)])
def test_the_checks_would_see_it(live: Any, broken: str, expected: type[Exception]) -> None:
    """A document that promises less, or something else, than the server answers."""
    api = document(ROUTES, ServerConfig())
    answers = api["paths"]["/version"]["get"]["responses"]
    if broken == "status":
        del answers["200"]
    else:
        answers["200"]["content"]["application/json"]["schema"] = {"type": "array"}
    case = schemathesis.openapi.from_dict(api)["/version"]["GET"].Case()
    with pytest.raises(FailureGroup) as caught:
        case.call_and_validate(base_url=live.url, checks=CHECKS)
    assert [type(failure) for failure in caught.value.exceptions] == [expected]
