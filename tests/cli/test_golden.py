"""`pool-export golden`: the golden vectors case by case."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pool_export.runtime.manifest import GOLDEN_NAME

from .conftest import Result
from .test_verify import spoil_golden

Call = Callable[..., Result]


def test_json_has_every_case_and_the_tolerance(classifier: Path, call: Call) -> None:
    result = call("golden", classifier, "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    stated = json.loads((classifier / GOLDEN_NAME).read_text("utf-8"))
    assert [(case["text"], case["pair"]) for case in document["cases"]] == [
        (case["text"], case["pair"]) for case in stated["cases"]
    ]
    assert len(document["cases"]) >= 24
    assert document["tolerance"] == stated["tolerances"]["fp32"]
    first = document["cases"][0]
    assert (first["case"], first["failures"], set(first["outputs"])) == ("case 0", [], {"logits", "probs"})
    assert all(figures["max_abs"] < 1e-4 for case in document["cases"] for figures in case["outputs"].values())
    assert (document["bundle"], document["device"], document["precision"]) == (str(classifier), "cpu", "fp32")
    assert (document["passed"], document["failures"]) == (True, [])


def test_the_table_has_a_row_an_output_and_a_verdict(classifier: Path, call: Call) -> None:
    result = call("golden", classifier)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    stated = json.loads((classifier / GOLDEN_NAME).read_text("utf-8"))["cases"]
    assert sum(line.endswith(" ok") for line in lines) == len(stated)
    assert sum(" logits " in line for line in lines) == sum(" probs " in line for line in lines) == len(stated)
    assert lines[-1].startswith(f"{classifier}: agrees with {len(stated)} golden cases on cpu in fp32 ")


def test_disagreement_names_the_case_and_fails(damaged: Path, call: Call) -> None:
    spoil_golden(damaged)
    result = call("golden", damaged)
    assert (result.code, result.err) == (1, "")
    lines = result.out.splitlines()
    assert sum(line.endswith(" FAILED") for line in lines) == 1
    assert lines[-2].startswith("FAILED case 1 ")
    assert "DISAGREES with " in lines[-1]


def test_hashes_are_the_business_of_verify(damaged: Path, call: Call) -> None:
    """A graph that was changed but still agrees passes here, and not there."""
    model = damaged / "onnx/model.onnx"
    data = model.read_bytes()
    assert b"pool_export.version" in data
    model.write_bytes(data.replace(b"pool_export.version", b"pool_export.versioN"))
    assert call("golden", damaged).code == 0
    failed = call("verify", damaged)
    assert (failed.code, failed.error()[:16]) == (1, "onnx/model.onnx:")


def test_a_precision_the_bundle_has_not(classifier: Path, call: Call) -> None:
    result = call("golden", classifier, "--precision", "int8")
    assert result.code == 1
    assert "has no int8 graph; available: fp32" in result.error()
