"""How a server is run: address, limits, keys, what it may read. The only reader of these variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..options import option, parse_size

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")


def parse_switch(text: str) -> bool:
    """Read an on-or-off variable.

    Raises:
        ValueError: neither 1, true, yes, on nor 0, false, no, off.
    """
    value = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.strip().lower() not in value:
        raise ValueError("expected true or false")
    return value[text.strip().lower()]


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Options of ``pool-export serve``. Each field is also a flag and a ``POOL_EXPORT_*`` variable."""

    host: str = option("127.0.0.1", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 opens it to the network.")
    # Not `port`: Kubernetes sets POOL_EXPORT_PORT=tcp://… in every pod beside a service of that name.
    listen_port: int = option(
        8000, parse=int, metavar="N", flag="--port", help="Port to listen on; 0 takes a free one."
    )
    api_key: str | None = option(
        None, metavar="KEY[,KEY…]", help="Keys that clients must send as `Authorization: Bearer KEY`; rather a file."
    )
    api_key_file: str | None = option(None, metavar="FILE", help="File with one key a line; `#` begins a comment.")
    max_concurrent_requests: int = option(
        256, parse=int, metavar="N", help="Requests in the server at once; one more is answered 429."
    )
    max_queued_tokens: int = option(
        500_000, parse=int, metavar="N", help="Tokens that wait for a forward pass; a request above it is answered 429."
    )
    max_inputs: int = option(2048, parse=int, metavar="N", help="Texts, pairs or images in one request; more is 422.")
    max_text: int = option(
        500_000, parse=int, metavar="N", help="Characters of one text, before it is tokenized; more is answered 400."
    )
    max_body: int = option(8 * 2**20, parse=parse_size, metavar="SIZE", help="Bytes of one request body; more is 413.")
    max_bodies: int = option(
        128 * 2**20, parse=parse_size, metavar="SIZE", help="Bytes of all request bodies at once; beyond it is 429."
    )
    request_timeout: float = option(
        60.0, parse=float, metavar="SECONDS", help="A request not answered by then is dropped and answered 504."
    )
    read_timeout: float = option(
        20.0, parse=float, metavar="SECONDS", help="A client has this long to send its headers, and again its body."
    )
    drain_timeout: float = option(
        30.0, parse=float, metavar="SECONDS", help="After SIGTERM, finish accepted requests for at most this long."
    )
    batch_window_ms: float = option(
        2.0,
        parse=float,
        metavar="MS",
        help="A batch waits this long for requests that are being tokenized; 0 is never.",
    )
    ssl_certfile: str | None = option(
        None, metavar="FILE", help="Certificate chain (PEM): serve https; needs --ssl-keyfile unless it holds the key."
    )
    ssl_keyfile: str | None = option(None, metavar="FILE", help="The certificate's private key (PEM), not encrypted.")
    chat_template: str | None = option(
        None, metavar="FILE", help="Jinja that renders chats (`messages`), instead of each model's own."
    )
    trust_request_chat_template: bool = option(
        False, parse=parse_switch, help="Render chats through a template that the request brings along."
    )
    allowed_local_media_path: str | None = option(
        None, metavar="DIR", help="Folder below which `file:` URLs of images are read; without it none is."
    )
    allowed_media_domains: str | None = option(
        None, metavar="HOST[:PORT],…", help="Hosts from which URLs of images are fetched; without them none is."
    )
    log_format: str = option("text", choices=LOG_FORMATS, help="One line a request on stderr: for people, or as JSON.")
    log_level: str = option("info", choices=LOG_LEVELS, help="The least that is logged; probes are from debug on.")
    otlp_endpoint: str | None = option(
        None, metavar="URL", help="OpenTelemetry collector (OTLP over HTTP, as http://host:4318) to send traces to."
    )

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work.

        Raises:
            InputError: a limit below 1, a port that is none, or a time below 0.
        """
        if not 0 <= self.listen_port <= 65535:
            raise InputError(f"port must be in [0, 65535], got {self.listen_port}")
        for name in (
            "max_concurrent_requests",
            "max_queued_tokens",
            "max_inputs",
            "max_text",
            "max_body",
            "max_bodies",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("request_timeout", "read_timeout", "drain_timeout"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0 seconds, got {getattr(self, name)}")
        if not self.batch_window_ms >= 0:
            raise InputError(f"batch_window_ms must be 0 or more, got {self.batch_window_ms}")
        self._check_places()

    def _check_places(self) -> None:
        """Refuse files, folders and addresses that cannot be meant."""
        if self.otlp_endpoint is not None and not re.match(r"https?://[^/]", self.otlp_endpoint):
            raise InputError(f"otlp_endpoint must be a URL such as http://host:4318, got {self.otlp_endpoint!r}")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise InputError("ssl_keyfile is the key of a certificate: give ssl_certfile too")
        if self.allowed_local_media_path is not None and not Path(self.allowed_local_media_path).is_dir():
            raise InputError(f"allowed_local_media_path must be a folder, got {self.allowed_local_media_path!r}")
        if wrong := sorted(name for name in self.media_domains() if "/" in name or "*" in name):
            raise InputError(
                f"allowed_media_domains holds hosts such as images.example or 10.0.0.7:9000, got {wrong[0]!r}"
            )

    def media_domains(self) -> frozenset[str]:
        """Hosts (``host`` for the standard port, else ``host:port``) from which images may be fetched."""
        names = (name.strip().lower() for name in (self.allowed_media_domains or "").split(","))
        return frozenset(name for name in names if name)

    def keys(self) -> tuple[str, ...]:
        """Every key that a client may use; none means that nobody is asked for one.

        Raises:
            InputError: a key file that cannot be read, or that holds no key.
        """
        keys = [key.strip() for key in (self.api_key or "").split(",")]
        if self.api_key_file is not None:
            try:
                lines = Path(self.api_key_file).read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"api_key_file {self.api_key_file} cannot be read: {error}") from error
            found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
            if not found:
                raise InputError(f"api_key_file {self.api_key_file} holds no key; expected one a line")
            keys += found
        return tuple(key for key in keys if key)
