"""`pool-export zoo`: cards for people and for programs, and the check's exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_export.cli import zoo
from pool_export.models_zoo import catalog
from pool_export.poolers.errors import ConfigError

from .conftest import Result

Call = Callable[..., Result]


def test_list_names_every_card(call: Call) -> None:
    result = call("zoo", "list")
    assert (result.code, result.err) == (0, "")
    for name in catalog.cards():
        assert name in result.out
    assert f"{len(catalog.cards())} models" in result.out


def test_list_of_one_task_as_json(call: Call) -> None:
    documents = json.loads(call("zoo", "list", "--task", "reward", "--json").out)
    assert [one["id"] for one in documents] == [name for name, one in catalog.cards().items() if one.task == "reward"]
    assert {"pooling_type", "prompts", "hazards", "export", "licence"} <= set(documents[0])


def test_show_gives_command_and_snippet(call: Call) -> None:
    result = call("zoo", "show", "INTFLOAT/e5-small")
    assert (result.code, result.err) == (0, "")
    assert "    pool-export intfloat/e5-small\n" in result.out
    assert '    llm = LLM("intfloat/e5-small")\n' in result.out
    assert "prompts.query" in result.out
    assert "'query: '" in result.out
    assert "prompt_required: texts need one of the prompts" in result.out


def test_show_of_a_model_with_its_own_code(call: Call) -> None:
    document = json.loads(call("zoo", "show", "jinaai/jina-embeddings-v3", "--json").out)
    assert document["command"] == "pool-export jinaai/jina-embeddings-v3 --trust-remote-code"
    assert 'LLM("jinaai/jina-embeddings-v3", trust_remote_code=True)' in document["python"]
    assert document["matryoshka"] == [768, 512, 256, 128, 64, 32]


def test_show_of_an_unsupported_model_gives_the_reason_and_no_command(call: Call) -> None:
    result = call("zoo", "show", "jinaai/jina-reranker-m0")
    assert result.code == 0
    assert "cannot be exported: it reads texts and images together" in result.out
    assert "Export:" not in result.out


def test_an_unknown_card_is_one_line(call: Call) -> None:
    result = call("zoo", "show", "intfloat/e5-smal")
    assert result.code == 1
    assert result.error() == "no model card for 'intfloat/e5-smal'; did you mean 'intfloat/e5-small'?"


@pytest.mark.torch
def test_check_of_some_cards(call: Call) -> None:
    names = ("intfloat/e5-small", "BAAI/bge-m3", "jinaai/jina-embeddings-v3")
    result = call("zoo", "check", *names, "--json")
    assert result.code == 0
    document = json.loads(result.out)
    assert (document["passed"], document["cards"]) == (True, 3)
    assert [row["cards"] for row in document["groups"]] == [["intfloat/e5-small"], ["BAAI/bge-m3"], [names[2]]]
    assert document["groups"][2]["skipped"].startswith("remote-code: ")


@pytest.mark.torch
def test_check_exports_one_of_a_group(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from pool_export.export import proof

    exported: list[str] = []

    def fake(card: Any, folder: Any) -> dict[str, Any]:
        exported.append(card.id)
        return {"samples": 3, "cases": {"alone": {"x": {"max_abs": 1e-6, "min_cosine": 1.0}}}}

    monkeypatch.setattr(proof, "prove_export", fake)
    result = call("zoo", "check", "intfloat/e5-small", "intfloat/e5-base-v2", "--export")
    assert result.code == 0, result.err
    assert exported == ["intfloat/e5-small"]
    assert "exported, max-abs 1.0e-06" in result.out
    assert "2 cards: 2 proven on 1 kinds of tiny checkpoint, 0 that need" in result.out


@pytest.mark.torch
def test_a_failed_check_names_the_card_and_exits_with_1(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from pool_export.export import proof

    def wrong(cards: Any, folder: Any) -> Any:
        for one in cards:
            yield proof.Proof(
                one.id, "bert/base", ("pooling_type: the card says X, its tiny checkpoint resolves to Y",)
            )

    monkeypatch.setattr(proof, "prove", wrong)
    result = call("zoo", "check", "intfloat/e5-small")
    assert result.code == 1
    assert "FAILED intfloat/e5-small: pooling_type: the card says X" in result.out
    assert "1 FAILED" in result.out


@pytest.mark.torch
def test_an_export_that_fails_the_gate_fails_the_check(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from pool_export.export import proof

    def refuse(card: Any, folder: Any) -> Any:
        raise ConfigError("no")

    monkeypatch.setattr(proof, "prove_export", refuse)
    result = call("zoo", "check", "intfloat/e5-small", "--export")
    assert result.code == 1
    assert "FAILED intfloat/e5-small: its tiny export failed: no" in result.out


def test_snippets_call_what_the_task_is_answered_by() -> None:
    assert 'llm.score("a question"' in zoo.snippet(catalog.card("BAAI/bge-reranker-v2-m3"))
    assert "llm.classify(" in zoo.snippet(catalog.card("unitary/toxic-bert"))
    assert "llm.reward(" in zoo.snippet(catalog.card("internlm/internlm2-1_8b-reward"))
    for one in catalog.cards().values():
        compile(zoo.snippet(one), one.id, "exec")


@pytest.mark.torch
def test_an_export_says_what_the_card_added_and_inspect_shows_it(
    tiny_folder: Callable[..., Path], call: Call, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    result = call(tiny_folder("bert", "base"), "--card", "intfloat/e5-small", "-o", bundle, "--json")
    assert result.code == 0, result.err
    told = [line for line in result.err.splitlines() if line.startswith("card ")]
    assert told[0].startswith("card intfloat/e5-small: prompts = query, passage")
    assert "pooling_type = MEAN" in told[0]
    assert told[1:] == [
        "card intfloat/e5-small: says 512 tokens at most, the files say 128: the files are kept",
        "card intfloat/e5-small: says vectors of 384 numbers, this checkpoint gives 32",
    ]
    assert json.loads(result.out)["pooling"]["sources"]["pooling"] == "card"
    page = call("inspect", bundle).out
    rows = [line.split() for line in page.splitlines()]
    assert ["pooling", "MEAN", "card"] in rows
    assert ["card", "intfloat/e5-small"] in rows
    assert ["hazard", "prompt_required", "card"] in rows
    card = json.loads(call("inspect", bundle, "--json").out)["card"]
    assert card["filled"]["prompts"] == {"query": "query: ", "passage": "passage: "}


@pytest.mark.torch
def test_an_unknown_card_is_refused_before_any_work(tiny_folder: Callable[..., Path], call: Call) -> None:
    result = call(tiny_folder("bert", "base"), "--card", "intfloat/e5-smal")
    assert result.code == 1
    assert "no model card for 'intfloat/e5-smal'; did you mean 'intfloat/e5-small'?" in result.err
