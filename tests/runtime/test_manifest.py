from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.errors import BundleError
from pool_export.runtime.manifest import FORMAT, Manifest, decode_manifest, encode_manifest

REMEDY = "export the model again"


@pytest.fixture
def content(fake_bundle: Callable[..., Path]) -> dict[str, Any]:
    return json.loads((fake_bundle() / "pool_export.json").read_text("utf-8"))


def decode(content: object) -> Manifest:
    return decode_manifest(json.dumps(content).encode(), "here/pool_export.json")


def test_a_manifest_comes_back_as_it_was_written(content: dict[str, Any]):
    manifest = decode(content)
    assert decode_manifest(encode_manifest(manifest), "again") == manifest
    changed = dataclasses.replace(manifest, similarity="dot", created="2026-01-01")
    assert decode_manifest(encode_manifest(changed), "again") == changed


def test_a_manifest_is_written_for_people_too(content: dict[str, Any]):
    text = encode_manifest(decode(content))
    assert text.endswith(b"}\n")
    assert b'\n  "format": 1' in text
    assert json.loads(text)["source"]["id"] == "acme/fake"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"format": 1,}',
        b"\xff\xfe{}",
        b"\x00" * 64,
        b"[" * 100_000,
        b'{"format": 1e999}',
    ],
    ids=["empty", "cut", "comma", "utf-16", "zeros", "deep", "huge"],
)
def test_what_is_not_json_names_the_file_and_the_remedy(data: bytes):
    with pytest.raises(BundleError, match=f"here/pool_export.json is not valid JSON .*{REMEDY}"):
        decode_manifest(data, "here/pool_export.json")


@pytest.mark.parametrize("found", ["1", 1.0, True, None, [1], 0, -1])
def test_a_format_that_is_no_number_from_one_is_no_bundle(content: dict[str, Any], found: object):
    content["format"] = found
    with pytest.raises(BundleError, match=f"here/pool_export.json has no valid `format` .*got .*{REMEDY}"):
        decode(content)


@pytest.mark.parametrize("content", [{}, [], "format", 1, None, {"graphs": {}}])
def test_a_missing_format_is_no_bundle(content: object):
    with pytest.raises(BundleError, match="has no valid `format`"):
        decode(content)


def test_a_newer_format_says_what_reads_it(content: dict[str, Any]):
    content["format"] = FORMAT + 1
    content["pooling"] = "spelled differently in format 2"
    with pytest.raises(BundleError, match="has format 2, this version reads up to 1; upgrade: pip install -U"):
        decode(content)


def paths_of_required_fields() -> list[tuple[str, ...]]:
    return [
        ("source",), ("source", "id"), ("source", "architecture"), ("source", "model_type"),
        ("tasks",), ("pooling",), ("pooling", "convert"), ("pooling", "pooling"), ("pooling", "hidden_size"),
        ("tokenizer",), ("tokenizer", "max_length"), ("graphs",),
        ("graphs", "fp32", "files"), ("graphs", "fp32", "opset"), ("graphs", "fp32", "inputs"),
        ("graphs", "fp32", "outputs"),
    ]  # fmt: skip


def holder(content: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path[:-1]:
        content = content[key]
    return content


@pytest.mark.parametrize("path", paths_of_required_fields(), ids=".".join)
def test_a_missing_field_is_named(content: dict[str, Any], path: tuple[str, ...]):
    del holder(content, path)[path[-1]]
    with pytest.raises(BundleError, match=f"here/pool_export.json: .*`{path[-1]}`.*{REMEDY}"):
        decode(content)


@pytest.mark.parametrize("path", paths_of_required_fields(), ids=".".join)
def test_a_field_of_the_wrong_type_is_named(content: dict[str, Any], path: tuple[str, ...]):
    holder(content, path)[path[-1]] = 2.5
    with pytest.raises(BundleError, match=f"here/pool_export.json: Expected .*{path[-1]}.*{REMEDY}"):
        decode(content)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("pooling", "convert"), "rewards"),
        (("pooling", "pooling"), ["MEDIAN"]),
        (("pooling", "activation"), "swish"),
        (("tokenizer", "padding_side"), "both"),
        (("tasks",), ["embed", "translate"]),
    ],
)
def test_a_word_outside_the_vocabulary_is_refused(content: dict[str, Any], path: tuple[str, ...], value: object):
    holder(content, path)[path[-1]] = value
    with pytest.raises(BundleError, match="Invalid enum value"):
        decode(content)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("pooling", "pooling"), [], "`pooling.pooling` is empty"),
        (("tokenizer", "max_length"), 0, "`tokenizer.max_length` is 0"),
        (("graphs",), {}, "`graphs` is empty"),
        (("graphs", "fp32", "files"), [], "graph 'fp32' lists no file"),
        (("graphs", "fp32", "outputs"), [], "graph 'fp32' lists no output"),
    ],
)
def test_what_no_export_writes_is_refused(content: dict[str, Any], path: tuple[str, ...], value: object, problem: str):
    holder(content, path)[path[-1]] = value
    with pytest.raises(BundleError, match=f"here/pool_export.json: {problem}.*{REMEDY}"):
        decode(content)


def test_fields_that_a_later_version_added_are_ignored(content: dict[str, Any]):
    plain = decode(content)
    content["added_later"] = {"x": 1}
    content["pooling"]["added_later"] = 1
    content["graphs"]["fp32"]["files"][0]["added_later"] = None
    assert decode(content) == plain


def test_fields_with_a_default_may_be_absent(content: dict[str, Any]):
    for name in ("producer", "created", "similarity"):
        del content[name]
    del content["tokenizer"]["prompts"]
    del content["pooling"]["sources"]
    manifest = decode(content)
    assert (manifest.producer, manifest.similarity, manifest.tokenizer.prompts) == ({}, "cosine", {})


def test_a_real_manifest_loses_nothing_when_it_is_rewritten(tiny_bundle: Callable[..., Path]):
    """Whatever the file says is still said; a bundle older than a field gains its default."""
    data = (tiny_bundle("bert", "sequence_3") / "pool_export.json").read_bytes()
    manifest = decode_manifest(data, "x")
    rewritten = encode_manifest(manifest)
    assert decode_manifest(rewritten, "again") == manifest
    assert set(leaves(json.loads(data))) <= set(leaves(json.loads(rewritten)))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, value) of everything in a JSON document that holds nothing else."""
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{path}.{key}")
    else:
        yield path, repr(value)
