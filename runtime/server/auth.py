"""API keys: a bearer token or ``X-API-Key``, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import stat
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request

from .config import ServerConfig
from .problems import Unauthorized


class KeyCheck:
    """Knows the keys. With none, everybody may come in."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Keep their hashes: all of one length, so a comparison does not tell a key's, and no dump shows a key."""
        self._keys = [_hash(key.encode()) for key in dict.fromkeys(keys)]

    def __call__(self, request: Request) -> None:
        """Let a request pass.

        Raises:
            Unauthorized: no key, or an unknown one.
        """
        if not self._keys:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        # Starlette reads headers as latin-1; these are the bytes that came.
        found = _hash(given.encode("latin-1"))
        # Every key is compared, so that the time says nothing of which one was near.
        known = [hmac.compare_digest(found, key) for key in self._keys]
        if not any(known):
            raise Unauthorized(
                "this server asks for an API key: send the header `Authorization: Bearer KEY`"
                if not given
                else "the API key is not known to this server"
            )


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def cautions(config: ServerConfig) -> list[str]:
    """What a person who starts a server should know about who can use it."""
    found: list[str] = []
    if config.api_key_file is not None and Path(config.api_key_file).stat().st_mode & stat.S_IROTH:
        found.append(f"warning: every user of this machine can read the keys: chmod 600 {config.api_key_file}")
    if not config.keys() and not _is_loopback(config.host):
        found.append(
            f"warning: {config.host} can be reached from the network and no API key is asked for: give --api-key-file, "
            "or let a proxy ask"
        )
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
