"""The whole table, and the written list of known differences."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import table_classify, table_embed, table_rerank
from .cases import Case

KNOWN = Path(__file__).with_name("known_differences.toml")
KEYS = ("cases", "requests", "kind", "right", "reason")


@dataclass(frozen=True)
class Known:
    """One line of `known_differences.toml`.

    Attributes:
        cases, requests: what it is about; shell patterns.
        kind: `values`, `tokens`, `only ours answers`, `only vLLM answers`, `neither answers` or `both answer`.
        right: who has it right.
        reason: why the two differ.
    """

    cases: tuple[str, ...]
    requests: tuple[str, ...]
    kind: str
    right: str
    reason: str

    def covers(self, case: str, request: str) -> bool:
        """Whether this line is about that request of that case."""
        return any(fnmatch.fnmatchcase(case, pattern) for pattern in self.cases) and any(
            fnmatch.fnmatchcase(request, pattern) for pattern in self.requests
        )


@cache
def cases() -> Mapping[str, Case]:
    """Every row by name."""
    rows = [*table_embed.rows(), *table_classify.rows(), *table_rerank.rows()]
    named = {row.name: row for row in rows}
    if len(named) != len(rows):
        raise ValueError(f"names occur twice: {sorted({row.name for row in rows if named[row.name] is not row})}")
    return named


@cache
def known() -> tuple[Known, ...]:
    """The written list."""
    rows: list[dict[str, Any]] = tomllib.loads(KNOWN.read_text("utf-8")).get("difference", [])
    for row in rows:
        if sorted(row) != sorted(KEYS):
            raise ValueError(f"{KNOWN.name}: a difference has the keys {', '.join(KEYS)}; found {sorted(row)}")
    lists = ("cases", "requests")
    return tuple(Known(**{**row, **{key: tuple(row[key]) for key in lists}}) for row in rows)


def expected(case: str, request: str) -> Known | None:
    """The known difference of one request of one case, if there is one (the first line that covers it)."""
    return next((line for line in known() if line.covers(case, request)), None)
