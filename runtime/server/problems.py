"""From an exception to an HTTP answer: the one table, and the shapes in which clients read an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...poolers.errors import PoolExportError
from ..errors import BundleError, InputError, MissingExtraError, ProviderError, RuntimeFailure
from ..scheduling.call import Cancelled, DeadlineExceeded, Overloaded, Stopping

# `openai` holds OpenAI's and vLLM's two shapes in one body; Cohere's SDK reads its `message` too. `tei` is TEI's own.
Dialect = Literal["openai", "tei"]


class Unauthorized(PoolExportError):
    """No key, or one that is not known."""


class ModelNotFound(PoolExportError):
    """A model that is not served here."""


class BadRequest(PoolExportError):
    """The body is no JSON object of the route's shape; ``param`` is the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class BodyTooLarge(PoolExportError):
    """More bytes than the server takes."""


class BodyTooSlow(PoolExportError):
    """The client did not send its body in time."""


class HeadTooLarge(PoolExportError):
    """A request line and headers of more bytes than the server takes."""


class HeadTooSlow(PoolExportError):
    """The client did not send its request line and headers in time."""


class TooManyInputs(PoolExportError):
    """More texts in one request than the server takes."""


class MediaUnavailable(PoolExportError):
    """An image that may be read, and cannot."""


class NotReady(PoolExportError):
    """The server is up and cannot answer (yet, or any more)."""


@dataclass(frozen=True)
class Problem:
    """What a client is told: ``type`` is OpenAI's and vLLM's word, ``kind`` TEI's."""

    status: int
    type: str
    kind: str


# The first class that fits decides, so the special ones come before the general.
TABLE: tuple[tuple[type[BaseException], Problem], ...] = (
    (Unauthorized, Problem(401, "AuthenticationError", "Unauthorized")),
    (ModelNotFound, Problem(404, "NotFoundError", "Validation")),
    (BodyTooSlow, Problem(408, "RequestTimeoutError", "Validation")),
    (HeadTooSlow, Problem(408, "RequestTimeoutError", "Validation")),
    (HeadTooLarge, Problem(431, "RequestTooLargeError", "Validation")),
    (BodyTooLarge, Problem(413, "RequestTooLargeError", "Validation")),
    (TooManyInputs, Problem(422, "UnprocessableEntityError", "Validation")),
    (MediaUnavailable, Problem(422, "UnprocessableEntityError", "Validation")),
    (BadRequest, Problem(400, "BadRequestError", "Validation")),
    (InputError, Problem(400, "BadRequestError", "Validation")),
    (Overloaded, Problem(429, "RateLimitError", "Overloaded")),
    # nginx's number: nobody reads the answer, but the log and the metrics do.
    (Cancelled, Problem(499, "ClientClosedRequest", "Cancelled")),
    (MissingExtraError, Problem(501, "NotImplementedError", "Backend")),
    (Stopping, Problem(503, "ServiceUnavailableError", "Unhealthy")),
    (NotReady, Problem(503, "ServiceUnavailableError", "Unhealthy")),
    (DeadlineExceeded, Problem(504, "GatewayTimeoutError", "Backend")),
    (RuntimeFailure, Problem(500, "InternalServerError", "Backend")),
    (BundleError, Problem(500, "InternalServerError", "Backend")),
    (ProviderError, Problem(500, "InternalServerError", "Backend")),
)
INTERNAL = Problem(500, "InternalServerError", "Backend")


def problem_of(error: BaseException) -> Problem:
    """Look an exception up; what is not in the table is our fault."""
    return next((problem for kind, problem in TABLE if isinstance(error, kind)), INTERNAL)


def message_of(error: BaseException) -> str:
    """What the client may read: our own sentences, and nothing of what Python says of an unknown error."""
    if isinstance(error, PoolExportError):
        return str(error)
    return "the server failed on this request; its log has the cause under the request's id"


def body_of(error: BaseException, dialect: Dialect) -> dict[str, Any]:
    """The JSON of an error.

    OpenAI's shape nests it under ``error``; the seed of vLLM's page has it flat, with ``object``. One body
    holds both. TEI's clients expect the sentence itself under ``error``.
    """
    problem, message = problem_of(error), message_of(error)
    if dialect == "tei":
        return {"error": message, "error_type": problem.kind}
    fields = {
        "message": message,
        "type": problem.type,
        "param": getattr(error, "param", None),
        "code": problem.status,
    }
    return {"object": "error", **fields, "error": fields}


def headers_of(error: BaseException) -> Mapping[str, str]:
    """Headers that go with an error."""
    if isinstance(error, Overloaded):
        return {"retry-after": str(math.ceil(error.retry_after))}
    if isinstance(error, Unauthorized):
        return {"www-authenticate": "Bearer"}
    return {"retry-after": "1"} if isinstance(error, NotReady | Stopping) else {}
