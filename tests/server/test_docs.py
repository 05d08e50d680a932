"""The examples of docs/serving.md are what a live server answers."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

HERE = Path(__file__).resolve()
PAGE = HERE.parents[2] / "docs" / "serving.md"
BASE = "http://localhost:8000"
LEFT_OUT = "…"
# Another value every time, or with every release.
CHANGING = {"id", "created", "version", "onnxruntime"}


def blocks(language: str) -> Iterator[str]:
    """Yield the fenced blocks of a language; none where there is only an installed wheel."""
    text = PAGE.read_text("utf-8") if PAGE.is_file() else ""
    yield from (found[1] for found in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def examples() -> Iterator[Any]:
    """Yield path, body and the answer that the page shows, of every `curl localhost:8000…`."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            words = shlex.split(command)
            if words[0] == "curl" and words[1].startswith("localhost:8000"):
                path = words[1].removeprefix("localhost:8000")
                body = json.loads(words[words.index("--json") + 1]) if "--json" in words else None
                yield pytest.param(
                    path, body, " ".join(shown.split("\n")), id=f"{path} {(body or {}).get('model', '')}"
                )


def agree(shown: Any, got: Any, where: str = "answer") -> None:
    """Compare what the page shows with an answer; what is left out may be anything."""
    if isinstance(shown, dict):
        assert list(shown) == list(got), where
        for key in shown.keys() - CHANGING:
            agree(shown[key], got[key], f"{where}.{key}")
    elif isinstance(shown, list):
        kept = shown[:-1] if shown[-1:] == [LEFT_OUT] else shown
        assert len(got) > len(kept) if len(kept) < len(shown) else len(got) == len(kept), where
        for index, (one, other) in enumerate(zip(kept, got, strict=False)):
            agree(one, other, f"{where}[{index}]")
    elif isinstance(shown, str) and shown.endswith(LEFT_OUT):
        assert got.startswith(shown.removesuffix(LEFT_OUT)), where
    else:
        assert got == (pytest.approx(shown, abs=2e-4) if isinstance(shown, float) else shown), where


@pytest.mark.parametrize(("path", "body", "shown"), list(examples()))
def test_the_answer_is_the_one_shown(path: str, body: Any, shown: str, live: Any, checkout: Path) -> None:
    response = httpx.get(live.url + path) if body is None else httpx.post(live.url + path, json=body)
    agree(json.loads(re.sub(rf"{LEFT_OUT}(?=\])", f'"{LEFT_OUT}"', shown)), response.json())


def test_the_page_has_examples(checkout: Path) -> None:
    assert len(list(examples())) >= 15
    assert len(list(blocks("python"))) == 3


@pytest.mark.torch  # the clients are installed where torch is
@pytest.mark.parametrize("code", list(blocks("python")), ids=lambda code: code.split()[1])
def test_the_client_works_as_shown(
    code: str, live: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BASE in code
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # it takes any address for the Hub
    exec(code.replace(BASE, live.url), {"__name__": "__docs__"})
    promised = re.findall(r"^print\(.*\)  # ([^;\n]+)", code, re.MULTILINE)
    assert promised
    assert capsys.readouterr().out.splitlines() == promised
