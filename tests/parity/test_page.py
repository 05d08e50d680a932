"""docs/parity.md speaks of the rows and the differences there are; `make parity` rewrites it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .report import load, page
from .table import cases, known


@pytest.fixture
def stored(checkout: Path, request: pytest.FixtureRequest) -> str:
    path = checkout / "docs" / "parity.md"
    if request.config.getoption("--update-parity"):
        path.write_text(page(load(checkout / "build" / "parity" / "results")), encoding="utf-8")
    if not path.exists():
        pytest.skip("docs/parity.md is not written yet; `make parity` writes it")
    return path.read_text("utf-8")


def test_the_page_has_the_rows_of_the_table(stored: str) -> None:
    rows = [line.split("|")[1].strip() for line in stored.splitlines() if line.startswith("| ")]
    assert rows[1:] == list(cases()), "run `make parity`"


def test_the_page_has_every_known_difference(stored: str) -> None:
    assert [line.reason for line in known() if line.reason not in stored] == [], "run `make parity`"
