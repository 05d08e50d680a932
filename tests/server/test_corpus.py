"""The request corpus (`corpus/*.json`) against the live server, and the rules that every answer keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import numpy as np
import pytest
from jsonschema_rs import validator_for

from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.openapi import document
from pool_export.runtime.server.routes import ROUTES

from .corpus_case import TOLERANCE, Case, at, expanded, load

CASES = load()
API = document(ROUTES, ServerConfig())
DIALECTS = {path: route.dialect for route in ROUTES for path in route.paths}


@pytest.fixture(scope="module")
def client(live: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=60) as client:
        yield client


@cache
def _declared(path: str, method: str, status: int) -> Any:
    """What the OpenAPI document says of an answer: a validator a content type; `None` of a route that is not in it."""
    operation = API["paths"].get(path, {}).get(method.lower())
    if operation is None:
        return None
    contents = operation["responses"][str(status)].get("content", {})
    return {
        media: validator_for({**content.get("schema", {}), "components": API["components"]})
        for media, content in contents.items()
    }


def _check_declared(case: Case, response: httpx.Response) -> None:
    """The answer is one of those that the OpenAPI document declares."""
    declared = _declared(case.path.partition("?")[0], case.method, response.status_code)
    if declared is None:
        return
    media = response.headers.get("content-type", "").partition(";")[0]
    assert bool(declared) is bool(media)
    if declared:
        assert media in declared
        if media == "application/json":
            declared[media].validate(response.json())


def _send(client: httpx.Client, case: Case) -> httpx.Response:
    content = case.content()
    headers = {} if content is None else {"content-type": "application/json"}
    return client.request(case.method, case.path, content=content, headers={**headers, **case.headers})


def _strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"the answer holds {name}, which is not JSON")

    return json.loads(text, parse_constant=refuse)


def _message(answer: Any, dialect: str) -> str:
    """Check the shape of an error and return what it says."""
    if dialect == "tei":
        assert set(answer) == {"error", "error_type"}
        return str(answer["error"])
    fields = answer["error"]
    assert set(fields) == {"message", "type", "param", "code"}
    assert {key: answer[key] for key in fields} == fields
    assert answer["object"] == "error"
    return str(fields["message"])


def test_there_are_enough_cases() -> None:
    invalid = [name for name, case in CASES.items() if case.status >= 400]
    assert len(CASES) >= 200
    assert len(invalid) > len(CASES) / 2
    assert {path.partition("?")[0] for path in DIALECTS} <= {case.path for case in CASES.values()}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.status >= 400])
def test_refused_with_field_value_and_limit(client: httpx.Client, name: str) -> None:
    case = CASES[name]
    response = _send(client, case)
    assert response.status_code == case.status, response.text[:500]
    assert response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    if case.method == "HEAD":
        return
    answer = _strict(response.text)
    message = _message(answer, DIALECTS.get(case.path, "openai"))
    assert case.says, "an invalid case states what the message must say"
    _check_declared(case, response)
    for part in case.says:
        assert part in message
    assert len(message) < 1000, "a message is read by people"
    if isinstance(case.param, str | None):
        assert answer["param"] == case.param


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.status < 400])
def test_answered(client: httpx.Client, name: str) -> None:
    case = CASES[name]
    response = _send(client, case)
    assert response.status_code == case.status, response.text[:500]
    assert response.headers["x-request-id"]
    for header, value in case.answer_headers.items():
        assert response.headers[header] == value
    is_json = response.headers.get("content-type", "").startswith("application/json")
    answer = _strict(response.text) if is_json and case.method != "HEAD" else response.content
    _check_declared(case, response)
    if case.keys is not None:
        assert set(answer) == set(case.keys)
    _check_values(case, answer)
    for other, is_same in ((case.same, True), (case.not_same, False)):
        if other is not None:
            theirs = client.post(other.path or case.path, json=expanded(other.json))
            assert theirs.status_code == 200, theirs.text[:500]
            ours, want = at(answer, other.own), at(_strict(theirs.text), other.at or other.own)
            assert _is_near(ours, want) is is_same


def _check_values(case: Case, answer: Any) -> None:
    for place, value in case.equals.items():
        assert at(answer, place) == value, place
    for place, value in case.near.items():
        assert _is_near(at(answer, place), value), (place, at(answer, place))
    for place, length in case.lengths.items():
        assert len(at(answer, place) if place else answer) == length, place
    for place in case.unit:
        vectors = np.atleast_2d(np.asarray(at(answer, place), dtype=np.float64))
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


def _is_near(found: Any, wanted: Any) -> bool:
    one, other = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    return one.shape == other.shape and bool(np.abs(one - other).max(initial=0.0) < TOLERANCE)
