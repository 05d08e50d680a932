from __future__ import annotations

import io
import json
from typing import Any

from pool_export.runtime.server.announce import announce
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.logs import logging_to

from .seen import Served

URL = "http://127.0.0.1:8000"


def test_a_person_gets_a_table() -> None:
    lines: list[str] = []
    models: list[Any] = [Served(), Served("a-longer-name")]
    announce(models, ServerConfig(max_inputs=7, api_key="a,b"), URL, lines.append)
    assert lines == [
        "model          tasks         device  precision  threads  max length  max batch tokens",
        "minilm         embed, score  cpu     fp32       2        256         8192",
        "a-longer-name  embed, score  cpu     fp32       2        256         8192",
        "limits: max_concurrent_requests 256, max_queued_tokens 500000, max_inputs 7, max_body 8388608, "
        "request_timeout 60, api_keys 2",
        "serving on http://127.0.0.1:8000 (2 models)",
    ]


def test_what_a_person_should_know_is_a_warning_in_the_log() -> None:
    stream, lines = io.StringIO(), list[str]()
    models: list[Any] = [Served()]
    with logging_to(stream, "json", "info"):
        announce(models, ServerConfig(host="0.0.0.0"), URL, None)
    announce(models, ServerConfig(host="0.0.0.0"), URL, lines.append)
    warned = [line for line in map(json.loads, stream.getvalue().splitlines()) if line["level"] == "warning"]
    assert [line["message"].split(" and ")[0] for line in warned] == ["0.0.0.0 can be reached from the network"]
    assert f"warning: {warned[0]['message']}" in lines


def test_a_machine_gets_fields() -> None:
    stream = io.StringIO()
    models: list[Any] = [Served()]
    with logging_to(stream, "json", "info"):
        announce(models, ServerConfig(api_key="SECRET"), URL, None)
    model, limits, where = (json.loads(line) for line in stream.getvalue().splitlines())
    assert {name: model[name] for name in ("model", "tasks", "device", "precision", "threads", "max_length")} == {
        "model": "minilm",
        "tasks": ["embed", "score"],
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "max_length": 256,
    }
    assert (limits["max_inputs"], limits["api_keys"]) == (2048, 1)
    assert (where["message"], where["url"]) == (f"serving on {URL} (1 model)", URL)
    assert "SECRET" not in stream.getvalue()
