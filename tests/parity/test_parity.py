"""Every row of the table: our numbers against vLLM's, request by request (`make parity`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pool_export import LLM, PoolingParams

from .cases import Case
from .compare import REFUSED, SAME, Outcome, answers_of, compare
from .questions import sides
from .table import cases, expected
from .worker import ask_all

pytestmark = pytest.mark.parity

Figures = dict[str, Any]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # two test processes and two engines share the cores


def ask_ours(case: Case, folder: Path) -> tuple[Any, dict[str, str]]:
    asked = {name: sides(name)[0] for name in (*case.answered, *case.refused)}
    return ask_all(lambda: LLM(folder, **case.our_options()), asked, PoolingParams)


def ask_theirs(case: Case, folder: Path, peer: Any) -> tuple[Any, dict[str, str], Figures]:
    asked = {name: sides(name)[1] for name in (*case.answered, *case.refused)}
    answers, refused, figures = peer.answer(
        case.name, {"checkpoint": str(folder), "requests": asked, **case.their_options()}
    )
    return answers, refused, figures


def outcomes(case: Case, folder: Path, peer: Any) -> tuple[dict[str, Outcome], Figures]:
    theirs, their_words, figures = ask_theirs(case, folder, peer)
    began = time.monotonic()
    ours, our_words = ask_ours(case, folder)
    figures["our_seconds"] = round(time.monotonic() - began, 2)
    found = {
        name: compare(
            answers_of(name, ours, our_words), answers_of(name, theirs, their_words), must_refuse=name in case.refused
        )
        for name in (*case.answered, *case.refused)
    }
    return found, figures


def unexplained(case: Case, found: dict[str, Outcome]) -> dict[str, str]:
    """Request -> what is wrong: a difference nobody wrote down, or a written one that is gone."""
    wrong = {}
    for name, outcome in found.items():
        known = expected(case.name, name)
        differs = outcome.kind not in (SAME, REFUSED)
        if differs and known is None:
            wrong[name] = f"{outcome}"
        elif known is not None and outcome.kind != known.kind:
            wrong[name] = f"listed as {known.kind!r} ({known.reason}), found {outcome}"
    return wrong


@pytest.mark.parametrize("case", cases().values(), ids=list(cases()))
def test_the_numbers_are_vllms(
    case: Case,
    peer: Callable[[], Any],
    checkpoint: Callable[[Case], Path],
    store: Callable[[str, object], None],
) -> None:
    worker = peer()
    found, figures = outcomes(case, checkpoint(case), worker)
    requests = {name: outcome.as_json() for name, outcome in found.items()}
    store(case.name, {"case": case.name, "vllm": worker.version, **figures, "requests": requests})
    assert unexplained(case, found) == {}
