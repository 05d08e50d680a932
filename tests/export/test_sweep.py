"""Every architecture in every head through the exporter, whose parity gate is the check.

`make slow` runs it as tests. As a script it keeps one line an export in `build/coverage.jsonl`, so that a sweep can be
stopped, continued and repeated in parts, and then writes the page:

    python tests/export/test_sweep.py [FAMILY ...] [--heads base token_5] [--again]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from pool_export.export.errors import ExportError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.texts import sentences
from pool_export.models_zoo.tiny import ARCHITECTURES, class_name, heads_of, write_tiny
from pool_export.poolers.architectures import UNEXPORTABLE
from pool_export.poolers.errors import PoolExportError

HEADS = ("base", "sequence_3", "token_5", "sequence_1")
CASES = [(family, head) for head in HEADS for family in ARCHITECTURES if head in heads_of(family)]

# One layer where the backbone was verified without its head, unless layers differ from each other: half the tracing.
DIFFERENT_LAYERS = ("gpt_neo", "smollm3")

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "coverage.jsonl"
PAGE = ROOT / "docs" / "coverage.md"


@dataclass(frozen=True)
class Outcome:
    """What became of one export: the verified difference of the primary output, or the reason for none."""

    family: str
    head: str
    max_abs: float | None
    reason: str
    seconds: float


def attempt(family: str, head: str, folder: Path) -> Outcome:
    start = time.perf_counter()
    max_abs, reason = None, ""
    kinds = len(ARCHITECTURES[family].layer_types)
    layers = 2 if head == "base" or family in DIFFERENT_LAYERS else max(1, kinds)
    try:
        checkpoint = write_tiny(folder / "checkpoint", family, head, layers=layers)
        cases = export_model(ExportRequest(model=str(checkpoint), output=folder / "bundle")).report["cases"]
        primary = next(iter(cases["alone"]))
        max_abs = max(figures[primary]["max_abs"] for figures in cases.values())
    except PoolExportError as error:
        reason = " ".join(str(error).split())
    return Outcome(family, head, max_abs, reason, round(time.perf_counter() - start, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "head"), CASES)
def test_an_export_passes_its_gate_or_is_refused(family: str, head: str, tmp_path: Path, record_property):
    outcome = attempt(family, head, tmp_path)
    record_property("max_abs", outcome.max_abs)
    if family in UNEXPORTABLE:
        assert outcome.reason == f"{family} cannot be exported: {UNEXPORTABLE[family]}"
    else:
        assert outcome.max_abs is not None, outcome.reason


# ------------------------------------------------------------------- quick: composed as for an export, and not traced

# Every kind of classification head but the everyday ones, which tests/export/test_families.py exports.
HEADED = (
    "albert", "big_bird", "ctrl", "deberta", "deberta-v2", "electra", "esm", "eurobert", "gte", "luke", "mobilebert",
    "modernbert-decoder", "squeezebert", "xlm", "xlm-roberta-xl", "xlnet",
)  # fmt: skip


@pytest.mark.parametrize("family", HEADED)
def test_a_head_is_found_by_its_structure(family: str, tiny_folder: Any, adapted: Any, oracle: Any, gap: Any):
    judge = oracle(family, "sequence_3", layers=1)
    composed = adapted(tiny_folder(family, "sequence_3", layers=1))
    texts = list(sentences()[:6])
    for side in ("left", "right"):
        rows = composed.run(texts, side)["logits"]
        for text, row in zip(texts, rows, strict=True):
            assert gap(row, judge.logits(judge.tokens(text))) <= 1e-5


def test_a_fully_padded_row_of_esm_is_finite(tiny_folder: Any, adapted: Any):
    module = adapted(tiny_folder("esm", layers=1)).module
    mask = torch.tensor([[1, 1, 1], [0, 0, 0]])
    outputs = module(torch.full((2, 3), 7), mask)
    assert all(value.isfinite().all() for value in outputs.values())


@pytest.mark.parametrize("family", UNEXPORTABLE)
def test_what_no_graph_can_be_right_for_is_refused(family: str, tiny_folder: Any, adapted: Any):
    with pytest.raises(ExportError, match=f"{family} cannot be exported: "):
        adapted(tiny_folder(family, layers=1))


def test_block_sparse_attention_is_refused_with_the_way_out(tiny_folder: Any, adapted: Any):
    folder = tiny_folder("big_bird", layers=1, attention_type="block_sparse")
    with pytest.raises(ExportError, match="pass --hf-overrides"):
        adapted(folder)
    adapted(folder, hf_overrides={"attention_type": "original_full"})


def test_rotary_factors_chosen_by_the_batch_are_refused(tiny_folder: Any, adapted: Any):
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 1e4}
    folder = tiny_folder("phi3", layers=1, rope_parameters={**rope, "original_max_position_embeddings": 64})
    with pytest.raises(ExportError, match="phi3 cannot be exported: `longrope` chooses"):
        adapted(folder)


def test_the_page_has_a_row_for_every_architecture(checkout: Path):
    lines = (checkout / "docs" / "coverage.md").read_text("utf-8").splitlines()
    assert [line.split("`")[1] for line in lines if line.startswith("| `")] == sorted(ARCHITECTURES)


# ------------------------------------------------------------------------------------------------ the page

INTRODUCTION = """# Coverage

Every architecture that the sweep builds, from tiny random weights, and exports: the largest difference between graph
and reference on the primary output (`sentence_embedding`, or `logits`) over all cases of the parity gate: alone, in
ragged batches, and padded on either side ([design](design.md), section 7). The bar is 1e-4. `–`: transformers has no
such class; `refused`: see below the table. `python tests/export/test_sweep.py` rewrites it, `make slow` checks it.
"""


def page(results: dict[tuple[str, str], Outcome]) -> str:
    verified = [family for family in ARCHITECTURES if any(_passed(results, family, head) for head in HEADS)]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "onnxruntime"))
    lines = [
        INTRODUCTION,
        f"{len(verified)} of {len(ARCHITECTURES)} architectures are verified, with {versions}.",
        "",
        "| model type | class | embed | classify, 3 labels | classify, 1 label | classify tokens |",
        "|---|---|---|---|---|---|",
    ]
    columns = ("base", "sequence_3", "sequence_1", "token_5")
    for family in sorted(ARCHITECTURES):
        cells = " | ".join(_cell(results, family, head) for head in columns)
        lines.append(f"| `{family}` | {class_name(family)} | {cells} |")
    reasons = {one.family: one.reason for _, one in sorted(results.items(), reverse=True) if one.reason}
    lines += ["", "Refused, each with the exporter's own words:", ""]
    lines += [f"- **{family}**: {reasons[family]}" for family in sorted(reasons)]
    return "\n".join(lines) + "\n"


def _passed(results: dict[tuple[str, str], Outcome], family: str, head: str) -> bool:
    return (family, head) in results and results[family, head].max_abs is not None


def _cell(results: dict[tuple[str, str], Outcome], family: str, head: str) -> str:
    if head not in heads_of(family):
        return "–"
    outcome = results.get((family, head))
    if outcome is None:
        return "not run"
    return "refused" if outcome.max_abs is None else f"{outcome.max_abs:.1e}"


def read(file: Path) -> dict[tuple[str, str], Outcome]:
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    found = [Outcome(**json.loads(line)) for line in lines]
    return {(one.family, one.head): one for one in found if (one.family, one.head) in CASES}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--heads", nargs="*", default=list(HEADS))
    parser.add_argument("--again", action="store_true", help="repeat what has a result")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    RESULTS.parent.mkdir(exist_ok=True)
    for family, head in CASES:
        if family not in options.families or head not in options.heads:
            continue
        if not options.again and (family, head) in read(RESULTS):
            continue
        with tempfile.TemporaryDirectory() as folder, RESULTS.open("a", encoding="utf-8") as file:
            outcome = attempt(family, head, Path(folder))
            file.write(json.dumps(asdict(outcome)) + "\n")
        print(outcome, flush=True)
    PAGE.write_text(page(read(RESULTS)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
