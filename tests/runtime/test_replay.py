from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.engine import Engine
from pool_export.runtime.golden import read_golden
from pool_export.runtime.replay import Replay, compare, correlation, replay


@pytest.fixture
def tampered(bert_copy: Path, edit_json) -> Callable[..., Replay]:
    """Return `tampered(edit)`: the replay after `edit(golden)` changed the golden file."""

    def replay_after(edit: Callable[[dict[str, Any]], object]) -> Replay:
        edit_json(bert_copy / "golden.json", edit)
        return replay(Engine(open_bundle(bert_copy), RuntimeConfig(device="cpu")))

    return replay_after


def case_of(golden: dict[str, Any], index: int = 3) -> dict[str, Any]:
    return golden["cases"][index]


@pytest.mark.parametrize(
    ("family", "head"),
    [("bert", "base"), ("bert", "sequence_1"), ("bert", "sequence_3"), ("bert", "token_5"), ("qwen3", "base")],
)
def test_a_bundle_replays_its_golden_file(tiny_llm, family: str, head: str):
    engine = tiny_llm(family, head).engine
    result = replay(engine)
    assert result.failures == []
    assert result.passed
    assert result.cases == len(read_golden(engine.bundle).cases) > 20
    assert 0 <= result.max_abs < 1e-4
    assert 0.99999 < result.min_cosine <= 1 + 1e-9


def test_minilm_replays_its_golden_file(minilm):
    result = replay(minilm.engine)
    assert result.passed
    assert max(case.outputs["sentence_embedding"].max_abs for case in result.results) < 2e-6
    assert result.max_abs < 1e-5, "hidden states are larger numbers"


def test_one_changed_number_fails_its_case_by_name(tampered):
    shown = ""

    def change(golden: dict[str, Any]) -> None:
        nonlocal shown
        shown = f"case 3 {case_of(golden)['text'][:30]!r}: sentence_embedding differs by "
        case_of(golden)["outputs"]["sentence_embedding"][5] += 0.01

    result = tampered(change)
    assert not result.passed
    (failure,) = result.failures
    assert failure.startswith(shown)
    assert result.max_abs == pytest.approx(0.01, rel=1e-3)


def test_a_distance_alone_fails_though_the_direction_agrees(tampered):
    """A scaled vector has cosine 1: a graph that forgot to normalise must not pass."""

    def scale(golden: dict[str, Any]) -> None:
        outputs = case_of(golden)["outputs"]
        outputs["sentence_embedding"] = [value * 1.01 for value in outputs["sentence_embedding"]]

    result = tampered(scale)
    assert result.min_cosine > 0.99999
    assert len(result.failures) == 1


def test_a_direction_alone_fails_though_the_distance_is_small(tampered):
    def loosen(golden: dict[str, Any]) -> None:
        golden["tolerances"]["fp32"] = {"max_abs": 1.0, "min_cosine": 0.99999}
        case_of(golden)["outputs"]["sentence_embedding"][5] += 0.1

    assert len(tampered(loosen).failures) == 1


def test_what_both_tolerances_allow_passes(tampered):
    def loosen(golden: dict[str, Any]) -> None:
        golden["tolerances"]["fp32"] = {"max_abs": 0.2, "min_cosine": 0.9}
        case_of(golden)["outputs"]["sentence_embedding"][5] += 0.1

    assert tampered(loosen).passed


@pytest.mark.parametrize(
    "wrong",
    [
        lambda values: values[:-1],
        lambda values: [*values, 0.0],
        lambda values: [values],
        lambda values: [None, *values[1:]],
        lambda values: ["x", *values[1:]],
        lambda values: [[0.0], *values[1:]],
        lambda values: None,
        lambda values: [],
    ],
    ids=["shorter", "longer", "deeper", "null", "word", "ragged", "nothing", "empty"],
)
def test_what_cannot_be_compared_fails(tampered, wrong: Callable[[list[float]], object]):
    def change(golden: dict[str, Any]) -> None:
        outputs = case_of(golden)["outputs"]
        outputs["sentence_embedding"] = wrong(outputs["sentence_embedding"])

    result = tampered(change)
    assert len(result.failures) == 1
    assert result.failures[0].startswith("case 3 ")
    assert math.isinf(result.max_abs)


def test_a_single_number_is_judged_by_its_distance(tiny_bundle, tmp_path: Path, edit_json):
    """One logit has no direction: 2e-4 off fails by distance, 2e-5 passes, whatever the sign."""
    for change, passes in ((2e-4, False), (2e-5, True)):
        folder = Path(shutil.copytree(tiny_bundle("bert", "sequence_1"), tmp_path / str(passes)))

        def shift(golden: dict[str, Any], change: float = change) -> None:
            probs = case_of(golden)["outputs"]["probs"]
            probs[0] += change

        edit_json(folder / "golden.json", shift)
        result = replay(Engine(open_bundle(folder), RuntimeConfig(device="cpu")))
        assert result.passed is passes
        assert result.min_cosine == 1.0


def test_other_token_ids_fail_by_name(tampered):
    def change(golden: dict[str, Any]) -> None:
        case_of(golden)["text"] += " and more"

    assert tampered(change).failures[0].endswith("token ids differ from the reference tokenizer's")


def test_an_output_the_graph_lacks_fails_by_name(tampered):
    def change(golden: dict[str, Any]) -> None:
        case_of(golden)["outputs"]["sparse_embedding"] = [0.0]

    (failure,) = tampered(change).failures
    assert failure.startswith("case 3 ")
    assert failure.endswith("the graph has no output 'sparse_embedding'")


# ---------------------------------------------------------------------------------- other precisions' bars


def loosened(golden: dict[str, Any], **bars: Any) -> None:
    golden["tolerances"]["fp32"] = {"max_abs": None, "min_cosine": 0.98, "mean_cosine": None, **bars}


def test_without_a_distance_the_direction_judges(tampered):
    def change(golden: dict[str, Any]) -> None:
        loosened(golden)
        case_of(golden)["outputs"]["sentence_embedding"][5] += 0.05

    assert tampered(change).passed

    def turn(golden: dict[str, Any]) -> None:
        loosened(golden)
        outputs = case_of(golden)["outputs"]
        outputs["sentence_embedding"] = outputs["sentence_embedding"][::-1]

    assert len(tampered(turn).failures) == 1


def test_a_mean_of_cosines_judges_all_cases_together(tampered):
    def change(golden: dict[str, Any]) -> None:
        loosened(golden, min_cosine=0.5, mean_cosine=0.9999)
        for case in golden["cases"]:
            case["outputs"]["sentence_embedding"][0] += 0.1

    (failure,) = tampered(change).failures
    assert failure.startswith("all cases: sentence_embedding mean cosine 0.99")
    assert failure.endswith(" < 0.9999")


@pytest.mark.parametrize(("noise", "passes"), [(1e-3, True), (1.0, False)])
def test_scores_of_one_number_are_judged_by_their_correlation(
    tiny_bundle, tmp_path: Path, edit_json, noise: float, passes: bool
):
    folder = Path(shutil.copytree(tiny_bundle("bert", "sequence_1"), tmp_path / "bundle"))
    generator = np.random.default_rng(0)

    def shake(golden: dict[str, Any]) -> None:
        loosened(golden)
        logits = [case["outputs"]["logits"] for case in golden["cases"]]
        spread = float(np.std(logits))
        for values in logits:
            values[0] += spread * noise * generator.standard_normal()

    edit_json(folder / "golden.json", shake)
    result = replay(Engine(open_bundle(folder), RuntimeConfig(device="cpu")))
    assert result.passed is passes
    assert passes or result.failures[0].startswith("all cases: logits correlation of the scores ")


def test_correlation_of_what_does_not_vary():
    flat, row = np.ones(3), np.array([1.0, 2.0, 3.0])
    assert correlation(flat, flat) == 1.0
    assert correlation(flat, row) == correlation(row, flat) == 0.0
    assert correlation(row, 5 * row + 1) == pytest.approx(1.0)
    assert correlation(row, -row) == pytest.approx(-1.0)


def test_a_zero_vector_has_no_direction_but_is_near_to_zero():
    assert compare([0.0, 0.0], np.array([0.0, 1e-6])).cosine == 1.0
    assert compare([0.0, 0.0], np.array([0.0, 0.1])).cosine == 0.0
    assert compare([0.0, 0.1], np.zeros(2)).cosine == 0.0


def test_results_name_text_and_pair(tiny_llm):
    result = replay(tiny_llm("bert", "sequence_1").engine)
    paired = [case for case in result.results if case.pair is not None]
    assert len(paired) >= 4
    assert all(case.tokens > 0 and set(case.outputs) == {"logits", "probs"} for case in result.results)
