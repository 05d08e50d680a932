"""The table of errors: every kind of failure has its status, its shapes, its headers."""

from __future__ import annotations

import pytest

from pool_export.poolers.errors import PoolExportError
from pool_export.runtime import errors
from pool_export.runtime.scheduling import call
from pool_export.runtime.server import problems
from pool_export.runtime.server.problems import body_of, headers_of, message_of, problem_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (problems.Unauthorized("x"), 401),
        (problems.ModelNotFound("x"), 404),
        (problems.BodyTooSlow("x"), 408),
        (problems.HeadTooSlow("x"), 408),
        (problems.BodyTooLarge("x"), 413),
        (problems.HeadTooLarge("x"), 431),
        (problems.TooManyInputs("x"), 422),
        (problems.BadRequest("x"), 400),
        (errors.InputError("x"), 400),
        (call.Overloaded("x", 1), 429),
        (call.Cancelled("x"), 499),
        (errors.MissingExtraError("pillow", "image"), 501),
        (call.Stopping("x"), 503),
        (problems.NotReady("x"), 503),
        (call.DeadlineExceeded("x"), 504),
        (errors.RuntimeFailure("x"), 500),
        (errors.BundleError("x"), 500),
        (errors.ProviderError("x"), 500),
        (ZeroDivisionError("x"), 500),
    ],
)
def test_the_status_of_every_error(error: Exception, status: int) -> None:
    assert problem_of(error).status == status
    assert body_of(error, "openai")["code"] == status


def test_every_error_of_the_server_and_the_scheduler_is_in_the_table() -> None:
    listed = {kind for kind, _ in problems.TABLE}
    for module in (problems, call, errors):
        own = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, PoolExportError)]
        assert {kind for kind in own if kind is not PoolExportError} <= listed


def test_an_error_has_both_shapes_of_openai_and_vllm() -> None:
    body = body_of(problems.BadRequest("input: too odd", "input"), "openai")
    fields = {"message": "input: too odd", "type": "BadRequestError", "param": "input", "code": 400}
    assert body == {"object": "error", **fields, "error": fields}


def test_tei_has_its_own_shape() -> None:
    assert body_of(call.Overloaded("full", 2), "tei") == {"error": "full", "error_type": "Overloaded"}


def test_an_unknown_error_tells_the_client_nothing() -> None:
    assert "/etc/secret" not in message_of(OSError("/etc/secret cannot be read"))
    assert message_of(errors.InputError("dimensions: 3")) == "dimensions: 3"


def test_headers_that_go_with_an_error() -> None:
    assert headers_of(call.Overloaded("full", 2.2)) == {"retry-after": "3"}
    assert headers_of(problems.Unauthorized("no")) == {"www-authenticate": "Bearer"}
    assert headers_of(call.Stopping("no")) == {"retry-after": "1"}
    assert headers_of(errors.InputError("no")) == {}
