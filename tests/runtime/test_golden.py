from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.bars import BARS, Bars
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.errors import BundleError
from pool_export.runtime.golden import dense, read_golden, tolerance_of

REMEDY = "export the model again"


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


def test_tolerances_are_the_files_by_precision(bert_copy: Path, edit_json):
    bundle = open_bundle(bert_copy)
    golden = read_golden(bundle)
    assert golden.tolerances == BARS
    assert {name: tolerance_of(golden, bundle, name) for name in BARS} == BARS
    edit_json(bert_copy / "golden.json", lambda content: content["tolerances"]["int8"].update(min_cosine=0.5))
    assert tolerance_of(read_golden(bundle), bundle, "int8") == Bars(None, 0.5, 0.995)


def test_an_older_file_speaks_of_the_first_graph_alone(bert_copy: Path, edit_json):
    def age(content: dict[str, Any]) -> None:
        content.pop("tolerances")
        content["tolerance"] = {"max_abs": 1e-3, "min_cosine": 0.9}

    edit_json(bert_copy / "golden.json", age)
    bundle = open_bundle(bert_copy)
    golden = read_golden(bundle)
    assert tolerance_of(golden, bundle, "fp32") == Bars(1e-3, 0.9)
    assert tolerance_of(golden, bundle, "fp16") == BARS["fp16"]


def test_the_bars_are_those_of_the_design():
    assert json.loads(json.dumps({name: vars(bars) for name, bars in BARS.items()})) == {
        "fp32": {"max_abs": 1e-4, "min_cosine": 0.99999, "mean_cosine": None},
        "fp16": {"max_abs": None, "min_cosine": 0.999, "mean_cosine": None},
        "bf16": {"max_abs": None, "min_cosine": 0.999, "mean_cosine": None},
        "int8": {"max_abs": None, "min_cosine": 0.98, "mean_cosine": 0.995},
    }
