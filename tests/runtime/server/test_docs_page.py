"""The page at `/docs`, rendered without a server."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.docs_page import POLICY, render
from pool_export.runtime.server.routes import ROUTES


def page(host: str = "localhost:8000", **options: object) -> str:
    return render(ROUTES, ServerConfig(**options), host).decode()  # type: ignore[arg-type]


def test_the_policy_allows_the_pages_own_style_and_nothing_else() -> None:
    styles = re.findall(r"<style>(.*?)</style>", page(), re.DOTALL)
    assert len(styles) == 1
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert " style=" not in page()


def test_limits_in_force_are_named() -> None:
    text = page(max_inputs=7, max_body=1000, request_timeout=3.0)
    assert "at most 7 inputs and 1000 bytes" in text
    assert "Not answered within 3 seconds." in text


def test_a_key_is_in_the_example_where_one_is_asked_for() -> None:
    header = "Authorization: Bearer KEY"
    assert header not in page()
    assert header in page(api_key="secret")
    assert "secret" not in page(api_key="secret")


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("example.org", "http://example.org/"),
        ("[::1]:8000", "http://[::1]:8000/"),
        ("", "http://127.0.0.1:9000/"),
        ("a b", "http://127.0.0.1:9000/"),
        ("x;rm -rf ~", "http://127.0.0.1:9000/"),
        ("$(id)", "http://127.0.0.1:9000/"),
    ],
)
def test_an_address_that_is_none_does_not_get_into_a_command(host: str, base: str) -> None:
    assert f"curl {base}v1/embeddings" in page(host, listen_port=9000)


def test_fields_have_type_default_and_meaning() -> None:
    row = re.search(r"<tr>\s*<th scope=\"row\"><code>truncate_prompt_tokens</code></th>(.*?)</tr>", page(), re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td>(.*?)</td>", row[1], re.DOTALL)
    assert cells[0] == "an integer (at least -1), or null"
    assert cells[1] == "<code>null</code>"
    assert "-1 is the model" in cells[2]
