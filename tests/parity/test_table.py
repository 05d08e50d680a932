"""The table and the list of differences as data: quick, and without vLLM."""

from __future__ import annotations

import numpy as np
import pytest

from pool_export.models_zoo.tiny import heads_of

from .compare import BAR, Outcome, compare
from .questions import requests
from .table import cases, expected, known

KINDS = {"values", "tokens", "only ours answers", "only vLLM answers", "neither answers", "both answer"}
ROWS = [([1, 2], np.float32([0.5, -0.5]))]


def test_every_row_asks_something_that_is_defined() -> None:
    asked = {name: {*case.answered, *case.refused} for name, case in cases().items()}
    assert {name for name, names in asked.items() if not names} == set()
    assert {request for names in asked.values() for request in names} - set(requests()) == set()


def test_every_row_is_a_checkpoint_that_can_be_written() -> None:
    assert [name for name, case in cases().items() if case.head not in heads_of(case.family)] == []


def test_no_request_is_both_answered_and_refused() -> None:
    assert [name for name, case in cases().items() if set(case.answered) & set(case.refused)] == []


def test_every_known_difference_is_about_a_row_and_says_why() -> None:
    asked = [(name, request) for name, case in cases().items() for request in (*case.answered, *case.refused)]
    used = {expected(name, request) for name, request in asked}
    assert [line.reason for line in known() if line not in used] == []
    assert {line.kind for line in known()} <= KINDS
    assert all(len(line.reason) > 30 and line.right for line in known())


def test_equal_numbers_are_the_same() -> None:
    close = [([1, 2], np.float32([0.5, -0.5 + BAR / 2]))]
    assert compare(ROWS, close, must_refuse=False).kind == "same"


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [
        ([([1, 2], np.float32([0.5, -0.5 + 2 * BAR]))], "values"),
        ([([1, 2], np.float32([0.5, np.nan]))], "values"),
        ([([1, 2], np.float32([0.5]))], "values"),
        ([([1, 3], np.float32([0.5, -0.5]))], "tokens"),
        ([*ROWS, *ROWS], "tokens"),
        ("no", "only ours answers"),
    ],
)  # fmt: skip
def test_a_difference_is_found(theirs: object, kind: str) -> None:
    assert compare(ROWS, theirs, must_refuse=False).kind == kind


def test_a_refusal_is_judged_by_what_must_be() -> None:
    assert compare("no", "no", must_refuse=True) == Outcome("both refuse", None, "no", "no")
    assert compare("no", "no", must_refuse=False).kind == "neither answers"
    assert compare("no", ROWS, must_refuse=True).kind == "only vLLM answers"
    assert compare(ROWS, ROWS, must_refuse=True).kind == "both answer"
