"""Options of the server: sizes, limits, keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.options import from_env
from pool_export.runtime.server.config import ServerConfig, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("8388608", 2**23),
        ("8MiB", 2**23),
        ("2G", 2 * 10**9),
        ("1.5kB", 1500),
        ("3ki", 3072),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "8 TiB", "1e6", "8MiBs"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as"):
        parse_size(text)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("listen_port", 65536, r"port must be in \[0, 65535\], got 65536"),
        ("max_concurrent_requests", 0, "max_concurrent_requests must be at least 1, got 0"),
        ("max_queued_tokens", 0, "max_queued_tokens must be at least 1, got 0"),
        ("max_inputs", -1, "max_inputs must be at least 1, got -1"),
        ("max_text", 0, "max_text must be at least 1, got 0"),
        ("max_body", 0, "max_body must be at least 1, got 0"),
        ("max_bodies", 0, "max_bodies must be at least 1, got 0"),
        ("request_timeout", 0, "request_timeout must be above 0 seconds, got 0"),
        ("read_timeout", float("nan"), "read_timeout must be above 0 seconds, got nan"),
        ("drain_timeout", -1, "drain_timeout must be above 0 seconds, got -1"),
        ("batch_window_ms", -1, "batch_window_ms must be 0 or more, got -1"),
        ("ssl_keyfile", "key.pem", "give ssl_certfile too"),
    ],
)
def test_what_cannot_work_is_refused(option: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ServerConfig(**{option: value})


def test_the_environment_is_read_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_EXPORT_MAX_BODY", "2MiB")
    monkeypatch.setenv("POOL_EXPORT_API_KEY", "a,b")
    config = from_env(ServerConfig, max_inputs=7)
    assert (config.max_body, config.max_inputs, config.keys()) == (2 * 2**20, 7, ("a", "b"))
    monkeypatch.setenv("POOL_EXPORT_MAX_BODY", "much")
    with pytest.raises(InputError, match="POOL_EXPORT_MAX_BODY='much' cannot be read"):
        from_env(ServerConfig)


def test_keys_come_from_the_option_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# of the team\n\n  alpha \nbeta\nalpha\n")
    assert ServerConfig().keys() == ()
    assert ServerConfig(api_key="one, two,").keys() == ("one", "two")
    assert ServerConfig(api_key="one", api_key_file=str(file)).keys() == ("one", "alpha", "beta", "alpha")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"# nothing\n", "holds no key"), (b"\xff\xfe", "cannot be read"), (None, "cannot be read")],
)
def test_a_key_file_without_keys_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        ServerConfig(api_key_file=str(file)).keys()
