"""API keys: a bearer token or ``X-API-Key``, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.requests import Request

from .problems import Unauthorized


class KeyCheck:
    """Knows the keys. With none, everybody may come in."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Keep them as bytes, which is what can be compared in constant time."""
        self._keys = [key.encode() for key in keys]

    def __call__(self, request: Request) -> None:
        """Let a request pass.

        Raises:
            Unauthorized: no key, or an unknown one.
        """
        if not self._keys:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        # Every key is compared, so that the time says nothing of which one was near.
        known = [hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key) for key in self._keys]
        if not any(known):
            raise Unauthorized(
                "this server asks for an API key: send the header `Authorization: Bearer KEY`"
                if not given
                else "the API key is not known to this server"
            )
