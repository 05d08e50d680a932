"""docs/hosts.md is true: its Python runs, and what it shows of other languages stands in the examples.

The Python blocks share one namespace, in a folder with a bundle of every kind that they open. The JavaScript blocks
run in tests/examples/test_node.py. A block under `<!-- from PATH -->` is part of that file; no other language stands
without one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.tokens import TextTokenizer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hosts.md"
FENCE = re.compile(
    r"(?:<!-- from (?P<path>\S+) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCKS = [found.groupdict() for found in FENCE.finditer(PAGE.read_text("utf-8"))] if PAGE.is_file() else []
SHOWN = [block for block in BLOCKS if block["path"]]
# Folder that the page opens -> arguments of `tiny_bundle`.
BUNDLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "matryoshka": ("qwen3", "base", {"export": {"hf_overrides": {"matryoshka_dimensions": [8, 16]}}}),
    "classifier": ("bert", "sequence_3", {}),
    "cross-encoder": ("bert", "sequence_1", {}),
    "reward": ("qwen3", "sequence_1", {"export": {"convert": "reward"}}),
}


def test_every_language_is_shown(checkout: Path) -> None:
    assert {block["language"] for block in BLOCKS} == {"python", "js", "c", "csharp", "java", "rust", "go"}
    assert {block["language"] for block in BLOCKS if not block["path"]} == {"python", "js"}


@pytest.mark.parametrize("block", SHOWN, ids=[block["path"] for block in SHOWN])
def test_what_is_shown_stands_in_the_file(block: dict[str, str], checkout: Path) -> None:
    assert block["body"] in (checkout / block["path"]).read_text("utf-8")


@pytest.mark.torch  # makes the bundles
def test_python_runs(
    checkout: Path, minilm_bundle: Path, tiny_bundle: Callable[..., Path], in_tmp_path: Path
) -> None:  # fmt: skip
    os.symlink(minilm_bundle, in_tmp_path / "bundle")
    for name, (family, head, options) in BUNDLES.items():
        os.symlink(tiny_bundle(family, head, **options), in_tmp_path / name)
    space: dict[str, Any] = {"__name__": "__hosts__"}
    for block in BLOCKS:
        if block["language"] == "python":
            exec(compile(block["body"], str(PAGE), "exec"), space)
    assert space["short"].shape == (1, 8)
    assert space["first"].shape[0] >= 1
    bundle = open_bundle(minilm_bundle)
    tokenizer = TextTokenizer(bundle.path("tokenizer.json"), bundle.manifest.tokenizer)
    for prompt in ("query: ", "Represent this sentence: ", ""):
        ids, mask = space["prompted"](space["host"], "some text", prompt)
        hidden = tokenizer.prompt_length(prompt)
        assert (ids, mask) == (tokenizer.ids(prompt + "some text"), [0] * hidden + [1] * (len(ids) - hidden))


def test_links_lead_somewhere(checkout: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", PAGE.read_text("utf-8")):
        assert target.startswith("https://") or (PAGE.parent / target).exists(), target
