"""`pool-export verify`: the golden vectors on this machine, and a code that says whether they agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pool_export.runtime.manifest import GOLDEN_NAME

from .conftest import Result

Call = Callable[..., Result]


def spoil_golden(bundle: Path) -> None:
    golden = json.loads((bundle / GOLDEN_NAME).read_text("utf-8"))
    golden["cases"][1]["outputs"]["probs"] = golden["cases"][1]["outputs"]["probs"][::-1]
    (bundle / GOLDEN_NAME).write_text(json.dumps(golden), "utf-8")


def test_json_has_the_documented_keys(classifier: Path, call: Call) -> None:
    result = call("verify", classifier, "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    cases = len(json.loads((classifier / GOLDEN_NAME).read_text("utf-8"))["cases"])
    assert (document.pop("max_abs") < 1e-4, document.pop("min_cosine") > 0.99999) == (True, True)
    assert document == {
        "bundle": str(classifier), "device": "cpu", "precision": "fp32", "files": ["onnx/model.onnx"],
        "cases": cases, "failures": [], "passed": True,
    }  # fmt: skip


def test_agreement_is_one_line(classifier: Path, call: Call) -> None:
    result = call("verify", classifier)
    assert (result.code, result.err) == (0, "")
    (line,) = result.out.splitlines()
    assert line.startswith(f"{classifier}: 1 file(s) intact, agrees with ")


def test_disagreement_names_the_case_and_fails(damaged: Path, call: Call) -> None:
    spoil_golden(damaged)
    result = call("verify", damaged)
    assert (result.code, result.err) == (1, "")
    failed, verdict = result.out.splitlines()
    assert failed.startswith("FAILED case 1 ")
    assert " probs differs by " in failed
    assert "DISAGREES with " in verdict


def test_disagreement_fails_in_json_too(damaged: Path, call: Call) -> None:
    spoil_golden(damaged)
    result = call("verify", damaged, "--json")
    document = json.loads(result.out)
    assert (result.code, document["passed"], len(document["failures"])) == (1, False, 1)


def test_runtime_options_come_from_flags_and_variables(classifier: Path, process: Call) -> None:
    """The flag wins over the variable, and a variable that cannot be read is named."""
    result = process("verify", classifier, "--device", "cpu", "--json", POOL_EXPORT_DEVICE="tpu")
    assert json.loads(result.out)["device"] == "cpu"
    result = process("verify", classifier, POOL_EXPORT_THREADS="many")
    assert result.code == 1
    assert result.error().startswith("POOL_EXPORT_THREADS='many' cannot be read: ")
