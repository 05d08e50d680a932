"""`pool-export inspect`: everything the manifest says, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.manifest import decode_manifest

from .conftest import Result, edit_manifest

Call = Callable[..., Result]


def test_json_is_the_manifest_and_nothing_else(minilm_bundle: Path, call: Call) -> None:
    result = call("inspect", minilm_bundle, "--json")
    assert (result.code, result.err) == (0, "")
    assert decode_manifest(result.out.encode(), "stdout") == open_bundle(minilm_bundle).manifest


def test_json_has_the_documented_keys(minilm_bundle: Path, call: Call) -> None:
    document = json.loads(call("inspect", minilm_bundle, "--json").out)
    assert {key: type(value).__name__ for key, value in document.items()} == {
        "format": "int", "source": "dict", "tasks": "list", "pooling": "dict", "tokenizer": "dict", "graphs": "dict",
        "producer": "dict", "created": "str", "similarity": "str", "card": "NoneType", "image": "NoneType",
        "text": "NoneType",
    }  # fmt: skip
    assert document["tasks"][0] == document["pooling"]["convert"] == "embed"
    assert document["pooling"]["sources"]["pooling"] == "sentence_transformers"
    graph = document["graphs"]["fp32"]
    assert set(graph) == {"files", "opset", "inputs", "outputs", "parity", "operators", "passes"}
    assert graph["outputs"][0] == {"name": "sentence_embedding", "dtype": "float32", "shape": ["batch_size", 384]}
    assert graph["parity"]["passed"] is True
    assert set(graph["parity"]["cases"]) == {"alone", "batched", "padded"}


def test_the_page_for_people(minilm_bundle: Path, call: Call) -> None:
    result = call("inspect", minilm_bundle)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == f"{minilm_bundle}: made from model (BertModel), licence apache-2.0"
    titles = ("Head", "Graphs", "Inputs and outputs", "Parity with the reference")
    assert [line for line in lines if line in titles] == list(titles)
    rows = [line.split() for line in lines]
    assert ["pooling", "MEAN", "sentence_transformers"] in rows
    assert ["activation", "normalize", "sentence_transformers"] in rows
    assert ["embedding", "size", "384"] in rows
    assert ["longest", "input", "256", "tokens"] in rows
    assert ["in", "input_ids", "int64", "batch_size", "×", "sequence_length"] in rows
    assert ["out", "sentence_embedding", "float32", "batch_size", "×", "384"] in rows
    assert lines[-1].startswith("made with pool-export ")


def test_a_revision_is_shown_short_and_a_missing_licence_is_said(damaged: Path, call: Call) -> None:
    edit_manifest(damaged, source={"id": "org/name", "revision": "0123456789abcdef" * 2, "licence": ""})
    first = call("inspect", damaged).out.splitlines()[0]
    assert first.endswith(": made from org/name@0123456789ab (BertForSequenceClassification), licence not stated")


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({}, ["labels", "negative,", "neutral,", "positive"]),
        ({"is_matryoshka": True, "matryoshka_dimensions": [8, 16]}, ["matryoshka", "8,", "16"]),
        ({"is_matryoshka": True}, ["matryoshka", "any", "size"]),
        ({"use_activation": False}, ["activation", "none", "convert_default"]),
        (
            {"classifier_method": "from_2_way_softmax", "classifier_tokens": ["no", "yes"]},
            ["classifier", "from_2_way_softmax", "of", "'no',", "'yes'"],
        ),
        ({"logit_mean": 0.0, "sources": {"logit_mean": "user"}}, ["logit_mean", "0.0", "user"]),
    ],
)
def test_settings_that_only_some_heads_have(
    change: dict[str, object], row: list[str], damaged: Path, call: Call
) -> None:
    edit_manifest(damaged, pooling=change)
    assert row in [line.split() for line in call("inspect", damaged).out.splitlines()]
