"""The judge of `make interop` finds what it should; these run with the quick tests."""

from __future__ import annotations

from typing import Any

import pytest

from .compare import judge
from .consumers import CONSUMERS, KINDS
from .report import BEGIN, END, block, cell, rewritten

GOLDEN = {"cases": [{"outputs": {"sentence_embedding": [0.6, 0.8], "logits": [1.0]}} for _ in range(8)]}
CUT = {"cases": [*GOLDEN["cases"], {**GOLDEN["cases"][0], "truncated": True}]}


def answered(output: str, values: list[float], count: int = 8, **others: list[float]) -> dict[str, Any]:
    rows = {str(index): values for index in range(count)} | {key[1:]: value for key, value in others.items()}
    return {"version": "1", "ways": {"way": {output: rows}}}


def test_right_answers_pass():
    verdict = judge(answered("sentence_embedding", [0.6, 0.8]), GOLDEN)
    assert (verdict.failures, verdict.cases, verdict.max_abs) == ([], 8, 0.0)
    assert judge(answered("logits", [1.00005]), GOLDEN).failures == []


@pytest.mark.parametrize(
    ("output", "values"),
    [
        ("sentence_embedding", [0.62, 0.785]),
        ("sentence_embedding", [1.2, 1.6]),
        ("sentence_embedding", [0.6, 0.8, 0.0]),
        ("logits", [1.0002]),
    ],
    ids=["turned", "not normalised", "longer", "logit"],
)
def test_a_wrong_answer_is_named(output: str, values: list[float]):
    (failure,) = judge(answered(output, [0.6, 0.8] if output != "logits" else [1.0], _3=values), GOLDEN).failures
    assert failure.startswith(f"way, {output} of case 3 differs by ")


def test_a_handful_of_answers_is_the_least():
    (failure,) = judge(answered("logits", [1.0], count=5), GOLDEN).failures
    assert failure == "way: only 5 cases were answered"
    assert judge({"version": "1", "ways": {}}, GOLDEN).failures == ["it answered nothing"]


def test_texts_that_are_cut_otherwise_must_differ():
    right, wrong = answered("logits", [1.0], count=9), answered("logits", [1.0], _8=[2.0])
    assert len(judge(wrong, CUT).failures) == 1
    assert judge(wrong, CUT, cuts_otherwise=True).failures == []
    assert judge(wrong, CUT, cuts_otherwise=True).max_abs == 0.0
    (failure,) = judge(right, CUT, cuts_otherwise=True).failures
    assert "no longer cuts" in failure


def everything(**changes: Any) -> dict[Any, dict[str, Any]]:
    result = {"version": "1.2", "cases": 8, "max_abs": 1e-6, "min_cosine": 1.0, "failures": [], **changes}
    return {(name, kind): result for name in CONSUMERS for kind in KINDS}


def test_the_page_is_rewritten_between_its_marks():
    page = rewritten(f"before\n{BEGIN}\nold\n{END}\nbehind\n", everything())
    assert page.startswith(f"before\n{BEGIN}\n\n| consumer | embed | classify | cross-encoder |\n")
    assert page.endswith(f"{END}\nbehind\n")
    assert "old" not in page
    assert "| fastembed 1.2 | ok, cosine 1.0000000, 8 answers | not applicable: it has no classifiers | ok, " in page


def test_what_was_not_run_or_failed_is_not_published():
    with pytest.raises(ValueError, match="no verdict of onnxruntime"):
        block({})
    with pytest.raises(ValueError, match="no verdict of"):
        block(everything(failures=["x"]))
    assert cell({}, "openvino", "embed") == "not run"
    assert cell(everything(failures=["x"]), "openvino", "embed") == "FAILED: x"
