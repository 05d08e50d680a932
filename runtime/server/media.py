"""Images that a request points to: ``data:`` URLs, and files and hosts that the server's options allow.

Nothing is read on a client's behalf unless a flag allows it. A host is allowed by name and port; a name that leads
to an address inside a private network is refused unless the list holds that address itself, and the connection
goes to the address that was checked (DNS rebinding). vLLM's rules are looser (``vllm/multimodal/media/connector.py``).
"""

from __future__ import annotations

import binascii
import http.client
import ipaddress
import os
import socket
import ssl
import stat
import time
from base64 import b64decode
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urljoin, urlsplit

from ..errors import InputError
from .config import ServerConfig
from .problems import MediaUnavailable

_SECONDS = 5.0  # of one fetch, redirects included; vLLM's VLLM_IMAGE_FETCH_TIMEOUT
_MOST_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}
_CHUNK = 1 << 16
_AS_THEY_ARE = "%/?:@!$&'()*+,;="  # what may stand in a path and a query; the rest is quoted


def read_media(url: str, config: ServerConfig, where: str) -> bytes:
    """Read what a URL points to.

    Args:
        url: as the client wrote it.
        config: what is allowed; ``max_body`` bounds what is read.
        where: the field it came in, shown in messages.

    Raises:
        InputError: a URL that is not allowed, or that is none.
        MediaUnavailable: an allowed one that cannot be read.
    """
    if url[:5].lower() == "data:":  # before it is split: urllib remembers what it split, megabytes of it
        return _decode(url, where)
    parts = _split(url, where)
    if parts.scheme == "file":
        return _read_file(parts, config, where)
    if parts.scheme in _PORTS:
        return _fetch(url, config, where)
    raise InputError(f"{where} must be a data: URL (or a file:, http: or https: URL that is allowed), got {url!r:.80}")


def _split(url: str, where: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # read when it is asked for
    except ValueError as error:
        raise InputError(f"{where} is not a URL ({error}), got {url!r:.80}") from error
    return parts


def _decode(url: str, where: str) -> bytes:
    head, comma, data = url[len("data:") :].partition(",")
    if not comma:
        raise InputError(f"{where}: a data: URL has a comma before its data, got {url!r:.80}")
    raw = unquote_to_bytes(data)
    if not head.endswith(";base64"):
        return raw
    try:
        return b64decode(raw, validate=True)
    except binascii.Error as error:
        raise InputError(f"{where}: the data: URL does not hold valid base64 ({error})") from error


def _read_file(parts: SplitResult, config: ServerConfig, where: str) -> bytes:
    if config.allowed_local_media_path is None:
        raise InputError(f"{where}: this server reads no files; send the image as a data: URL "
                         "(a server started with --allowed-local-media-path reads below that folder)")  # fmt: skip
    try:
        root = Path(config.allowed_local_media_path).resolve(strict=True)
        path = Path(unquote(parts.path)).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a zero byte
        raise InputError(f"{where}: the file: URL is no path that can be read") from error
    # Before anything is said about the file, so that nobody learns what lies elsewhere.
    if parts.netloc not in ("", "localhost") or not path.is_relative_to(root):
        raise InputError(f"{where}: the file lies outside the folder that --allowed-local-media-path allows")
    try:
        # The path is resolved: a link in its place now is one that was put there since.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise MediaUnavailable(f"{where}: {parts.path} is not a regular file")
            data = stream.read(config.max_body + 1)
    except OSError as error:
        raise MediaUnavailable(f"{where}: {parts.path} cannot be read: {error.strerror}") from error
    return _bounded(data, config, where)


def _fetch(url: str, config: ServerConfig, where: str) -> bytes:
    """Fetch over HTTP; every step of a redirect has to be allowed like the first."""
    until = time.monotonic() + _SECONDS
    for _ in range(_MOST_REDIRECTS + 1):
        parts = _split(url, where)
        address = _allowed_address(parts, config, where)
        try:
            connection = _Connection(parts, address, until)
            try:
                found = _get(connection, parts, config.max_body, until)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise MediaUnavailable(f"{where}: {parts.hostname} did not answer within {_SECONDS:g} s or failed: "
                                   f"{reason:.120}") from error  # fmt: skip
        if isinstance(found, bytes):
            return _bounded(found, config, where)
        url = _joined(url, found, where)
        if parts.scheme == "https" and not url.startswith("https:"):
            raise InputError(f"{where}: {parts.hostname} redirects from https to {url!r:.80}")
    raise MediaUnavailable(f"{where}: more than {_MOST_REDIRECTS} redirects")


def _joined(url: str, location: str, where: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise MediaUnavailable(f"{where}: a redirect leads to {location!r:.80}, which is not a URL") from error


def _allowed_address(parts: SplitResult, config: ServerConfig, where: str) -> tuple[str, int]:
    """The address to connect to.

    Raises:
        InputError: the host is not on the list, or leads into a private network.
        MediaUnavailable: it has no address.
    """
    host, allowed = (parts.hostname or "").lower(), config.media_domains()
    if not allowed:
        raise InputError(f"{where}: this server fetches no URLs; send the image as a data: URL "
                         "(a server started with --allowed-media-domains fetches from those)")  # fmt: skip
    standard = _PORTS.get(parts.scheme)
    if standard is None:
        raise InputError(f"{where}: a redirect leads to {parts.scheme!r}, which is neither http nor https")
    port = parts.port or standard
    if f"{host}:{port}" not in allowed and not (host in allowed and port == standard):
        raise InputError(f"{where}: {host}:{port} is not one of --allowed-media-domains ({', '.join(sorted(allowed))})")
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise MediaUnavailable(f"{where}: {host} has no address: {error.strerror or error}") from error
    if not ipaddress.ip_address(address.partition("%")[0]).is_global and host != address:
        raise InputError(
            f"{where}: {host} leads to {address}, which is not a public address; --allowed-media-domains has to name "
            "such an address itself"
        )
    return address, port


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was checked, under the name that was asked for."""

    def __init__(self, parts: SplitResult, address: tuple[str, int], until: float) -> None:
        super().__init__(parts.hostname or "", address[1])
        self._address = address
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._until = until

    def connect(self) -> None:
        plain = socket.create_connection(self._address, timeout=_left(self._until))
        self.sock = plain if self._tls is None else self._tls.wrap_socket(plain, server_hostname=self.host)


def _get(connection: http.client.HTTPConnection, parts: SplitResult, limit: int, until: float) -> bytes | str:
    """The body, at most one byte longer than the limit; or where a redirect leads."""
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_AS_THEY_ARE)
    connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "pool-export"})
    held = connection.sock  # the connection forgets its socket where the answer ends with it
    held.settimeout(_left(until))
    response = connection.getresponse()
    if response.status in (301, 302, 303, 307, 308) and (location := response.headers.get("location")):
        return location
    if response.status != 200:
        raise http.client.HTTPException(f"status {response.status}")
    data = bytearray()
    while len(data) <= limit and not response.isclosed():
        held.settimeout(_left(until))
        chunk = response.read1(min(_CHUNK, limit + 1 - len(data)))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _bounded(data: bytes, config: ServerConfig, where: str) -> bytes:
    if len(data) > config.max_body:
        raise InputError(f"{where}: the image has more than {config.max_body} bytes (max_body)")
    return data
