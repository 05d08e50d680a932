"""What a worker needs: the golden cases it is asked about, and a place for its answers.

Runs in an environment of the consumer's own, without pool-export.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

BATCH = 16


class Case(NamedTuple):
    index: int
    text: str
    pair: str | None


def cases_of(bundle: Path, *, paired: bool | None = None) -> list[Case]:
    """Read a bundle's golden texts: all of them, only pairs, or only single texts."""
    golden = json.loads((bundle / "golden.json").read_text("utf-8"))
    found = [Case(index, case["text"], case["pair"]) for index, case in enumerate(golden["cases"])]
    return [case for case in found if paired is None or (case.pair is not None) is paired]


def batches(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Cut the cases into ragged batches of one kind: pairs, or single texts."""
    for paired in (False, True):
        kind = [case for case in cases if (case.pair is not None) is paired]
        for start in range(0, len(kind), BATCH):
            yield kind[start : start + BATCH]


class Answers:
    """Collects what a consumer answered, by the way it was asked and by output."""

    def __init__(self) -> None:
        self.ways: dict[str, dict[str, dict[int, Any]]] = {}

    def add(self, way: str, output: str, case: Case, values: Any) -> None:
        self.ways.setdefault(way, {}).setdefault(output, {})[case.index] = values.tolist()


Ask = Callable[[Path, str, Answers], str]


def work(arguments: Sequence[str], consumers: dict[str, Ask]) -> None:
    """Ask a consumer about a bundle and write its answers: CONSUMER KIND BUNDLE OUTPUT."""
    consumer, kind, bundle, output = arguments
    answers = Answers()
    version = consumers[consumer](Path(bundle), kind, answers)
    Path(output).write_text(json.dumps({"version": version, "ways": answers.ways}), "utf-8")
