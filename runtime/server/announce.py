"""What a server says of itself when it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .auth import cautions
from .config import ServerConfig
from .logs import log, say
from .models import Served


def describe(model: Served) -> dict[str, Any]:
    """What a person wants to know of a served model."""
    engine = model.engine
    return {
        "model": model.name,
        "tasks": list(model.spec.tasks),
        "device": engine.session.device,
        "precision": engine.session.precision,
        "threads": engine.session.threads,
        "max_length": engine.tokenizer.max_length,
        "max_batch_tokens": engine.max_tokens,
    }


def limits(config: ServerConfig) -> dict[str, Any]:
    """The limits of requests, and whether a key is asked for."""
    names = ("max_concurrent_requests", "max_queued_tokens", "max_inputs", "max_body", "request_timeout")
    return {**{name: getattr(config, name) for name in names}, "api_keys": len(config.keys())}


def announce(models: Sequence[Served], config: ServerConfig, url: str, show: Callable[[str], object] | None) -> None:
    """Say what is served, under which limits, and where.

    Args:
        models: what is served.
        config: the limits.
        url: where.
        show: shows a person a line; ``None`` writes to the log, with fields.
    """
    where = f"serving on {url} ({len(models)} {'model' if len(models) == 1 else 'models'})"
    described = [describe(model) for model in models]
    bounds = limits(config)
    if show is None:
        for fields in described:
            say("serving a model", **fields)
        say("limits", **bounds)
        for caution in cautions(config):
            log.warning(caution.removeprefix("warning: "))
        say(where, url=url)
        return
    for line in _table(described):
        show(line)
    show("limits: " + ", ".join(f"{name} {_cell(value)}" for name, value in bounds.items()))
    for caution in cautions(config):
        show(caution)
    show(where)


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [[name.replace("_", " ") for name in rows[0]], *(list(map(_cell, row.values())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
