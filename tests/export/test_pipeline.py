"""The export as a whole: its steps, its manifest, and the cache behind `LLM(checkpoint)`."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pool_export import LLM
from pool_export.export import pipeline
from pool_export.export.cache import cached_bundle
from pool_export.export.errors import ExportError, SourceError
from pool_export.export.pipeline import default_output, export_model
from pool_export.export.policy import tokenizer_policy
from pool_export.export.request import ExportRequest
from pool_export.export.source import open_source
from pool_export.models_zoo.tiny import write_tiny
from pool_export.poolers.errors import ConfigError
from pool_export.runtime.bundle import open_bundle


class Recorder:
    """A reporter that writes down what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.advanced = 0

    @contextlib.contextmanager
    def step(self, title: str, total: int | None = None, *, animated: bool = True) -> Iterator[Any]:
        self.said.append(title if total is None else f"{title} ({total})")

        def advance(amount: int) -> None:
            self.advanced += amount

        yield advance if total else None

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "my-model", "bert", layers=0)


def test_steps_are_reported_in_order(checkpoint: Path, tmp_path: Path, trace_once: None):
    reporter = Recorder()
    result = export_model(ExportRequest(model=str(checkpoint), output=tmp_path / "bundle"), reporter)
    count = result.report["samples"]
    assert reporter.said == [
        f"Reading {checkpoint}",
        "Loading weights",
        "Tracing the graph",
        "Writing the bundle",
        f"Verifying against the reference ({count})",
    ]
    assert reporter.advanced == count


def test_the_manifest_describes_the_export(checkpoint: Path, tmp_path: Path, trace_once: None):
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n")
    result = export_model(ExportRequest(model=str(checkpoint), output=tmp_path / "bundle", max_model_len=32))
    manifest = open_bundle(result.folder).manifest
    assert manifest == result.manifest
    assert (manifest.format, manifest.source.id, manifest.source.licence) == (1, "my-model", "mit")
    assert (manifest.source.architecture, manifest.source.model_type) == ("BertModel", "bert")
    assert manifest.tasks == ("embed", "score", "token_embed", "encode")
    assert manifest.pooling.sources["pooling"] == "architecture"
    policy = manifest.tokenizer
    assert (policy.max_length, policy.pad_token_id, policy.padding_side) == (32, 0, "right")
    assert policy.vocab_size == json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    assert {"pool-export", "torch", "transformers", "onnxruntime"} <= set(manifest.producer)
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "bundle" / "onnx" / "model.onnx").metadata_props}
    assert facts["pool_export.max_length"] == "32"
    assert facts["pool_export.pooling_type"] == "CLS"


def test_a_bundle_is_named_after_its_model(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert default_output(open_source(ExportRequest(model=str(checkpoint)))) == tmp_path / "my-model-bundle"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"convert": "classify"}, SourceError, "the checkpoint has no such head"),
        ({"convert": "none"}, ConfigError, "asks for a generative model"),
        ({"max_model_len": 4096}, ConfigError, r"max_model_len must be in \[1, 128\]"),
        ({"max_model_len": 1}, ExportError, "max_model_len must be at least 2"),
        ({"pooler_config": {"pooling_type": "STEP"}}, ConfigError, "needs step_tag_id"),
        ({"hf_overrides": {"architectures": ["BertForQuestionAnswering"]}}, ConfigError, "BertForQuestionAnswering"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(
    checkpoint: Path, leftovers: Any, options: dict[str, Any], kind: type[Exception], message: str
):
    with pytest.raises(kind, match=message):
        export_model(ExportRequest(model=str(checkpoint), output=checkpoint.with_name("bundle"), **options))
    assert leftovers() == ["my-model"]


def test_a_user_pooling_reaches_the_graph(checkpoint: Path, tmp_path: Path, open_llm: Any, adapted: Any):
    options: dict[str, Any] = {"pooler_config": {"pooling_type": "MAX", "normalize": False}}
    export_model(ExportRequest(model=str(checkpoint), output=tmp_path / "bundle", **options))
    (out,) = open_llm(tmp_path / "bundle").embed("Hello, my name is")
    wanted = adapted(checkpoint).run(["Hello, my name is"])["last_hidden_state"][0].max(axis=0)
    np.testing.assert_allclose(out.outputs.data, wanted, atol=1e-5)


@pytest.mark.parametrize(("pad", "used"), [(5, 5), (None, 0), (10**6, 0)])
def test_the_pad_token_is_one_the_embedding_table_has(checkpoint: Path, adapted: Any, pad: int | None, used: int):
    composed = adapted(checkpoint)
    composed.tokenizer = type("Tokenizer", (), {"pad_token_id": pad, "padding_side": "left"})()
    policy = tokenizer_policy(composed.source, composed.tokenizer, composed.model, 128)
    assert (policy.pad_token_id, policy.padding_side) == (used, "left")


def test_nothing_of_the_model_stays_in_memory(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept: list[weakref.ref] = []
    load = pipeline.load_model

    def watched(*args: Any) -> Any:
        model = load(*args)
        kept.append(weakref.ref(model))
        return model

    monkeypatch.setattr(pipeline, "load_model", watched)
    export_model(ExportRequest(model=str(checkpoint), output=tmp_path / "bundle"))
    gc.collect()
    assert [ref() for ref in kept] == [None]


# -------------------------------------------------------------------------------------------------------- cache


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were really exported into."""
    done: list[Path] = []
    export = pipeline._export

    def counted(source: Any, request: Any, target: Path, show: Any) -> Any:
        done.append(target)
        return export(source, request, target, show)

    monkeypatch.setattr(pipeline, "_export", counted)
    return done


def test_a_cached_export_is_made_once_an_option_set_and_again_when_the_checkpoint_changes(
    checkpoint: Path, tmp_path: Path, exports: list[Path], trace_once: None
):
    cache = tmp_path / "cache"
    first = cached_bundle(str(checkpoint), cache)
    assert cached_bundle(str(checkpoint), cache) == first
    assert exports == [first]
    assert first.parent == cache
    assert first.name.startswith("my-model-")

    mean = cached_bundle(str(checkpoint), cache, pooler_config={"pooling_type": "MEAN"})
    assert exports == [first, mean]
    assert open_bundle(mean).manifest.pooling.pooling == ("MEAN",)

    weights = checkpoint / "model.safetensors"
    stamp = weights.stat()
    os.utime(weights, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000))
    assert cached_bundle(str(checkpoint), cache) not in (first, mean)
    assert len(exports) == 3


def test_llm_of_a_checkpoint_exports_into_the_cache(checkpoint: Path, exports: list[Path], trace_once: None):
    vectors = [LLM(checkpoint, threads=1).embed("Hello, my name is")[0].outputs.data for _ in range(2)]
    np.testing.assert_array_equal(*vectors)
    assert len(exports) == 1


def test_a_cached_export_is_found_again_without_loading_torch(
    checkpoint: Path, tmp_path: Path, trace_once: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path / "cache"))
    bundle = cached_bundle(str(checkpoint), tmp_path / "cache")
    probe = (
        "import sys; from pool_export import LLM; "
        f"print(LLM({str(checkpoint)!r}).engine.bundle.folder); "
        "print(sorted({'torch', 'transformers', 'optimum'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(bundle), "[]"]


def test_another_process_that_was_faster_is_no_error(
    checkpoint: Path, tmp_path: Path, trace_once: None, monkeypatch: pytest.MonkeyPatch
):
    export = pipeline._export

    def late(*args: Any) -> Any:
        export(*args)
        return export(*args)

    monkeypatch.setattr(pipeline, "_export", late)
    assert open_bundle(cached_bundle(str(checkpoint), tmp_path / "cache")).name == "my-model"


def test_a_failed_export_leaves_nothing_in_the_cache(
    checkpoint: Path, tmp_path: Path, trace_once: None, monkeypatch: pytest.MonkeyPatch
):
    def broken(*args: Any) -> None:
        raise ExportError("no")

    monkeypatch.setattr(pipeline, "write_config", broken)
    with pytest.raises(ExportError, match="no"):
        cached_bundle(str(checkpoint), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_hub_export_is_pinned_to_the_commit_that_is_in_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[ExportRequest] = []
    monkeypatch.setattr("pool_export.export.cache.locate", lambda request: (tmp_path, "0123abc"))
    monkeypatch.setattr(pipeline, "export_model", lambda request, reporter: asked.append(request))
    target = cached_bundle("org/name", tmp_path / "cache", revision="main")
    assert [(request.model, request.revision, request.output) for request in asked] == [("org/name", "0123abc", target)]
