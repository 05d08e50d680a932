"""API keys: who comes in, and what a person at the terminal is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request

from pool_export.runtime.server.auth import KeyCheck, cautions
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.problems import Unauthorized


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer one"},
        {"authorization": "bearer  two"},
        {"x_api_key": "two"},
        {"authorization": "Basic dXNlcjpwYXNz", "x_api_key": "one"},  # a proxy's own
        {"authorization": "Bearer schlüssel"},
    ],
)
def test_a_known_key_comes_in(headers: dict[str, str]) -> None:
    KeyCheck(["one", "two", "two", "schlüssel"])(request(**headers))


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "asks for an API key: send the header `Authorization: Bearer KEY`"),
        ({"authorization": "Basic b25l"}, "asks for an API key"),
        ({"authorization": "Bearer "}, "asks for an API key"),
        ({"authorization": "Bearer on"}, "the API key is not known to this server"),
        ({"authorization": "Bearer oneone"}, "the API key is not known"),
        ({"x_api_key": "ONE"}, "the API key is not known"),
    ],
)
def test_no_key_and_a_wrong_key_do_not(headers: dict[str, str], message: str) -> None:
    with pytest.raises(Unauthorized, match=message) as found:
        KeyCheck(["one"])(request(**headers))
    assert "oneone" not in str(found.value)


def test_without_keys_everybody_comes_in() -> None:
    KeyCheck([])(request())


def test_no_dump_of_the_check_shows_a_key() -> None:
    assert b"secret" not in b"".join(KeyCheck(["secret"])._keys)
    assert "secret" not in repr(vars(KeyCheck(["secret"])))


def test_a_key_file_that_others_can_read_is_pointed_out(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("one\n")
    file.chmod(0o640)
    assert cautions(ServerConfig(api_key_file=str(file))) == []
    file.chmod(0o644)
    (found,) = cautions(ServerConfig(api_key_file=str(file), host="0.0.0.0"))
    assert found == f"warning: every user of this machine can read the keys: chmod 600 {file}"


@pytest.mark.parametrize(
    ("host", "count"),
    [("127.0.0.1", 0), ("127.0.0.2", 0), ("::1", 0), ("localhost", 0), ("0.0.0.0", 1), ("::", 1), ("example.org", 1)],
)
def test_an_open_address_without_a_key_is_pointed_out(host: str, count: int) -> None:
    found = cautions(ServerConfig(host=host))
    assert len(found) == count
    assert all(f"{host} can be reached from the network" in line for line in found)
    assert cautions(ServerConfig(host=host, api_key="one")) == []
