from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.engine import Engine
from pool_export.runtime.errors import BundleError
from pool_export.runtime.golden import Replay, dense, read_golden, replay

REMEDY = "export the model again"


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
    assert result.max_abs < 2e-6


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
        golden["tolerance"] = {"max_abs": 1.0, "min_cosine": 0.99999}
        case_of(golden)["outputs"]["sentence_embedding"][5] += 0.1

    assert len(tampered(loosen).failures) == 1


def test_what_both_tolerances_allow_passes(tampered):
    def loosen(golden: dict[str, Any]) -> None:
        golden["tolerance"] = {"max_abs": 0.2, "min_cosine": 0.9}
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
    import shutil

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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 1}', "cannot be read"),
        ('{"format": 1, "model": "m", "tolerance": {"max_abs": 1}, "cases": []}', "`min_cosine`"),
        ('{"format": 1, "model": "m", "tolerance": {"max_abs": 1, "min_cosine": 0}, "cases": []}', "holds no case"),
        ('{"format": 2, "model": "m", "tolerance": {"max_abs": 1, "min_cosine": 0}, "cases": []}', "has format 2"),
        (
            '{"format": 1, "model": "m", "tolerance": {"max_abs": 1, "min_cosine": 0}, "cases": '
            '[{"text": "a", "input_ids": [1, 2], "token_type_ids": [0], "outputs": {}}]}',
            "case 0 has no or unequal token lists",
        ),
    ],
)
def test_a_damaged_golden_file_is_named_with_the_remedy(bert_copy: Path, content: str, message: str):
    (bert_copy / "golden.json").write_text(content)
    with pytest.raises(BundleError, match=message) as caught:
        read_golden(open_bundle(bert_copy))
    assert str(bert_copy / "golden.json") in str(caught.value)
    assert REMEDY in str(caught.value)


def test_a_missing_golden_file_is_named(bert_copy: Path):
    (bert_copy / "golden.json").unlink()
    with pytest.raises(BundleError, match=r"golden\.json cannot be read .*export the model again"):
        read_golden(open_bundle(bert_copy))


def test_a_golden_file_may_not_lie_outside(bert_copy: Path):
    (bert_copy / "golden.json").rename(bert_copy.parent / "golden.json")
    (bert_copy / "golden.json").symlink_to("../golden.json")
    with pytest.raises(BundleError, match="lies outside the bundle"):
        read_golden(open_bundle(bert_copy))


def test_a_wide_vector_is_stated_by_its_non_zero_entries():
    assert dense({"size": 4, "indices": [1, 3], "values": [0.5, 2.0]}).tolist() == [0, 0.5, 0, 2.0]
    assert dense({"size": 2, "indices": [], "values": []}).tolist() == [0, 0]
    assert dense([[1, 2]]).tolist() == [[1, 2]]
    for damaged in (
        {"size": 2},
        {"size": 2, "indices": [5], "values": [1.0]},
        {"size": "x", "indices": [], "values": []},
    ):
        with pytest.raises((KeyError, IndexError, TypeError)):
            dense(damaged)
