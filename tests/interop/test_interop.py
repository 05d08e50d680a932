"""Bundles as they are written, opened by the software people already have (`make interop`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .compare import Verdict, judge
from .consumers import CELLS, CONSUMERS, Kind


def fingerprint(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.interop
@pytest.mark.parametrize(("name", "kind"), CELLS)
def test_a_consumer_answers_the_golden_vectors(
    name: str,
    kind: Kind,
    bundle_of: Callable[[Kind], Path],
    ask: Callable[[str, Kind, Path], dict[str, Any]],
    store: Callable[[str, Kind, dict[str, Any]], None],
):
    bundle = bundle_of(kind)
    before = fingerprint(bundle)
    try:
        answered = ask(name, kind, bundle)
    except AssertionError as error:
        store(name, kind, Verdict("", failures=[str(error).strip().splitlines()[-1][:200]]).document())
        raise
    golden = json.loads((bundle / "golden.json").read_text("utf-8"))
    verdict = judge(answered, golden, cuts_otherwise=bool(CONSUMERS[name].cuts_otherwise))
    store(name, kind, verdict.document())
    assert verdict.failures == []
    assert fingerprint(bundle) == before, "a consumer changed the bundle it opened"
