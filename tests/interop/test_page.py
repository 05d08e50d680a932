"""docs/interop.md speaks of the consumers there are; `make interop` rewrites its table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import RESULTS
from .consumers import CELLS, CONSUMERS, KINDS
from .report import BEGIN, END, load, rewritten


@pytest.fixture
def stored(checkout: Path, request: pytest.FixtureRequest) -> str:
    path = checkout / "docs" / "interop.md"
    if request.config.getoption("--update-interop"):
        path.write_text(rewritten(path.read_text("utf-8"), load(RESULTS)), encoding="utf-8")
    return path.read_text("utf-8")


def test_the_table_has_every_consumer_and_no_failure(stored: str) -> None:
    table = [line for line in stored.partition(BEGIN)[2].partition(END)[0].splitlines() if line.startswith("| ")]
    head, *found = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    assert head == ["consumer", *KINDS]
    assert [re.sub(r" \d.*", "", row[0]) for row in found] == [consumer.title for consumer in CONSUMERS.values()]
    for name, row in zip(CONSUMERS, found, strict=True):
        for kind, cell in zip(KINDS, row[1:], strict=True):
            assert cell.startswith("ok, " if (name, kind) in CELLS else "not applicable: "), "run `make interop`"


def test_the_table_was_made_with_the_pinned_releases(stored: str, checkout: Path) -> None:
    folder = checkout / "tests" / "interop"
    lines = [line for file in folder.glob("constraints-*.txt") for line in file.read_text("utf-8").splitlines()]
    pins = dict(line.split("==") for line in lines if "==" in line)
    packages = json.loads((folder / "node" / "package.json").read_text("utf-8"))["dependencies"]
    pins["transformers.js"] = packages["@huggingface/transformers"]
    for consumer in CONSUMERS.values():
        pin = pins.get(consumer.title) or pins[consumer.title.lower()]
        assert f"| {consumer.title} {pin} |" in stored, "run `make interop`"
