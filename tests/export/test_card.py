"""The bundle's README: true for every kind of head, and valid as a model card."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from pool_export.export.card import render_card, write_card
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.manifest import Manifest

HEADS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "embed": ("bert", "base", {}, 'llm.embed("Hello, my name is")'),
    "classify": ("bert", "sequence_3", {}, 'llm.classify("Hello, my name is")'),
    "reward": ("qwen2", "sequence_1", {"convert": "reward"}, 'llm.reward("Hello, my name is")'),
    "tokens": ("t5", "token_5", {}, 'llm.encode("Hello, my name is")'),
}


@pytest.fixture(scope="module", params=HEADS)
def bundle(request: pytest.FixtureRequest, tiny_bundle: Any) -> tuple[Path, str]:
    family, head, export, call = HEADS[request.param]
    return tiny_bundle(family, head, export=export, layers=1), call


def test_the_snippet_is_the_one_for_this_head_and_runs(
    bundle: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder, call = bundle
    card = (folder / "README.md").read_text("utf-8")
    assert call in card
    snippet = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(folder))
    exec(compile(snippet, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_card_states_what_the_manifest_says(bundle: tuple[Path, str]):
    folder, _ = bundle
    manifest = open_bundle(folder).manifest
    card = (folder / "README.md").read_text("utf-8")
    rows = dict(line.strip("|").split("|", 1) for line in card.splitlines() if line.startswith("|"))
    stated = {key.strip(): value.strip() for key, value in rows.items()}
    assert stated["tasks"] == ", ".join(manifest.tasks)
    assert stated["pooling"].startswith(" + ".join(manifest.pooling.pooling))
    assert stated["longest input"] == f"{manifest.tokenizer.max_length} tokens"
    assert stated.get("labels", "") == ", ".join(manifest.pooling.labels)
    for output in manifest.graphs["fp32"].outputs:
        assert stated[f"`{output.name}`"] == f"`[{', '.join(map(str, output.shape))}]`"
    assert "\n\n\n" not in card


def test_the_card_is_valid_metadata_for_the_hub(bundle: tuple[Path, str]):
    data = ModelCard.load(str(bundle[0] / "README.md")).data
    assert data.library_name == "onnx"
    assert "pool-export" in data.tags


def _manifest(tiny_bundle: Any, **source: str) -> Manifest:
    manifest = open_bundle(tiny_bundle("bert", layers=1)).manifest
    return dataclasses.replace(manifest, source=dataclasses.replace(manifest.source, **source))


def test_licence_and_revision_are_stated_where_known(tiny_bundle: Any):
    assert "license:" not in render_card(_manifest(tiny_bundle))
    card = render_card(_manifest(tiny_bundle, id="org/name", licence="apache-2.0", revision="abc123"))
    assert "license: apache-2.0\n---" in card
    assert "from `org/name` at `abc123` (`BertModel`)" in card


@pytest.mark.parametrize(("sizes", "shown"), [((8, 16), "32 (Matryoshka: 8, 16)"), ((), "32 (Matryoshka: any size)")])
def test_matryoshka_sizes_are_stated(tiny_bundle: Any, sizes: tuple[int, ...], shown: str):
    manifest = _manifest(tiny_bundle)
    spec = dataclasses.replace(manifest.pooling, is_matryoshka=True, matryoshka_dimensions=sizes)
    assert f"| embedding size | {shown} |" in render_card(dataclasses.replace(manifest, pooling=spec))


def test_the_card_is_utf8(tiny_bundle: Any, tmp_path: Path):
    manifest = _manifest(tiny_bundle)
    spec = dataclasses.replace(manifest.pooling, labels=("föhn", "雨"))
    write_card(tmp_path, dataclasses.replace(manifest, pooling=spec))
    assert "| labels | föhn, 雨 |" in (tmp_path / "README.md").read_bytes().decode("utf-8")


def test_prompts_similarity_and_template_are_stated(tiny_bundle: Any):
    manifest = _manifest(tiny_bundle)
    assert "| similarity | cosine |" in render_card(manifest)
    assert "| prompts |" not in render_card(manifest)
    policy = dataclasses.replace(manifest.tokenizer, prompts={"q": "query: ", "d": ""}, default_prompt_name="q",
                                 score_template="{{ messages }}")  # fmt: skip
    spec = dataclasses.replace(manifest.pooling, include_prompt=False)
    changed = dataclasses.replace(manifest, similarity="manhattan", tokenizer=policy, pooling=spec)
    card = render_card(changed)
    assert "| prompts | q, d (default: q) |" in card
    assert "| similarity | manhattan (negated distance) |" in card
    assert "| score template | in `pool_export.json`" in card
    assert "`pooling_mask` is `attention_mask` with 0 on the tokens of a prompt" in card
