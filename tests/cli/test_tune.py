"""`pool-export tune`: measures, stores, shows, forgets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_export.runtime.cache import cache_folder

from .conftest import Result

Call = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path / "cache"))


def stored() -> list[Path]:
    return list((cache_folder() / "tuned").glob("*"))


def test_the_choice_is_shown_stored_and_forgotten(classifier: Path, call: Call) -> None:
    result = call("tune", classifier, "--seconds", "1", "--threads", "1")
    assert result.code == 0
    rows = [line for line in result.out.splitlines() if line.endswith("chosen")]
    assert len(rows) == 1
    (record,) = stored()
    assert result.out.splitlines()[-1].startswith(f"{classifier}: ")
    assert str(record) in result.out
    assert str(classifier) not in str(record)
    assert call("tune", classifier, "--forget").err == f"{record} removed\n"
    assert stored() == []
    assert call("tune", classifier, "--forget").err == f"nothing was stored for {classifier} on this host\n"


def test_json_has_every_candidate(classifier: Path, call: Call, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("one text\nand another one\n")
    result = call("tune", classifier, "--seconds", "1", "--threads", "1", "--input", texts, "--json")
    document = json.loads(result.out)
    assert document["path"] == str(stored()[0])
    chosen = document["chosen"]
    assert (chosen["threads"], chosen["device"] in ("cpu", "openvino")) == (1, True)
    first = document["candidates"][0]
    assert {"device", "precision", "streams", "tokens_per_second", "turns", "min_cosine", "problem"} <= set(first)
    assert all(len(one["turns"]) == 3 for one in document["candidates"] if not one["problem"])


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--min-cosine", "2"], 2, "--min-cosine"),
        (["--seconds", "0"], 2, "--seconds"),
        (["--input", "/nowhere.txt"], 2, "/nowhere.txt"),
    ],
)
def test_bad_input_is_one_line(classifier: Path, call: Call, words: list[str], code: int, part: str) -> None:
    result = call("tune", classifier, *words)
    assert result.code == code
    assert part in result.error()
    assert stored() == []


def test_what_is_no_bundle_is_said(call: Call, tmp_path: Path) -> None:
    result = call("tune", tmp_path / "none")
    assert (result.code, "does not exist" in result.error()) == (1, True)
