from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.runtime.autoexport import bundle_for
from pool_export.runtime.cache import cache_folder
from pool_export.runtime.errors import BundleError, MissingExtraError
from pool_export.runtime.llm import LLM

CACHE = "pool_export.export.cache"


class NoTorch:
    """An import hook: the exporter's door fails as it does without the export extra."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == CACHE:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without the export extra: this one, or pretended."""
    if importlib.util.find_spec("torch") is not None:
        monkeypatch.delitem(sys.modules, CACHE, raising=False)
        monkeypatch.setattr(sys, "meta_path", [NoTorch, *sys.meta_path])


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A pretended exporter; the calls it got."""
    calls: list[tuple[Any, ...]] = []

    def cached_bundle(model: str, cache: Path, **options: Any) -> Path:
        calls.append((model, cache, options))
        return cache / "exported"

    module = ModuleType(CACHE)
    module.cached_bundle = cached_bundle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pool_export.export", ModuleType("pool_export.export"))
    monkeypatch.setitem(sys.modules, CACHE, module)
    return calls


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


# ----------------------------------------------------------------------------------------------- a bundle


def test_a_bundle_is_opened_as_it_is(fake_bundle, exporter):
    folder = fake_bundle()
    assert bundle_for(str(folder)) == folder
    assert exporter == []


@pytest.mark.parametrize(
    "option",
    [
        {"convert": "classify"},
        {"revision": "main"},
        {"runner": "generate"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_only_an_export_can_honour_is_refused_for_a_bundle(fake_llm, option: dict[str, Any]):
    with pytest.raises(BundleError) as caught:
        fake_llm("embed", options=option)
    assert str(caught.value).endswith(
        f"is an exported bundle; {next(iter(option))} can only be chosen at export: "
        "run pool-export on the original model with these options"
    )


def test_every_refused_option_is_named(fake_bundle):
    with pytest.raises(BundleError, match="; convert, revision can only be chosen at export"):
        bundle_for(str(fake_bundle()), revision="main", convert="classify", hf_overrides=None)


@pytest.mark.parametrize(
    "option",
    [
        {"convert": "auto", "runner": "auto"},
        {"convert": "embed"},
        {"runner": "pooling"},
        {"trust_remote_code": True},
        {"pooler_config": None, "hf_overrides": None, "revision": None},
        {"pooler_config": {}, "hf_overrides": {}},
        {"pooler_config": {"pooling_type": "MEAN"}},
        {"pooler_config": PoolerConfig()},
    ],
    ids=str,
)
def test_what_a_vllm_script_passes_and_a_bundle_already_is_does_no_harm(fake_llm, option: dict[str, Any]):
    assert fake_llm("embed", options=option).embed("one")[0].outputs.hidden_size == 6


# ----------------------------------------------------------------------------------------- a checkpoint


def test_a_checkpoint_goes_to_the_exporter_with_the_options_given(exporter, checkpoint: Path):
    found = bundle_for(
        str(checkpoint), convert="embed", runner="auto", pooler_config={"normalize": False}, revision=None
    )
    ((model, cache, options),) = exporter
    assert (model, cache) == (str(checkpoint), cache_folder())
    assert options == {"convert": "embed", "pooler_config": {"normalize": False}}
    assert found == cache_folder() / "exported"


def test_a_hub_id_goes_to_the_exporter(exporter):
    bundle_for("acme/model", revision="v2", trust_remote_code=True)
    assert exporter == [("acme/model", cache_folder(), {"revision": "v2", "trust_remote_code": True})]


def test_a_checkpoint_is_opened_from_the_bundle_that_the_exporter_made(fake_llm, fake_bundle, exporter, checkpoint):
    made = fake_bundle("embed")
    sys.modules[CACHE].cached_bundle = lambda model, cache, **options: made  # type: ignore[attr-defined]
    fake_llm()  # the numpy graph is in place
    assert LLM(checkpoint, convert="embed").engine.bundle.folder == made


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("model", ["acme/model", "bert-base-uncased", "CHECKPOINT"])
def test_without_the_export_extra_the_message_is_the_install_command(model: str, checkpoint: Path):
    model = model.replace("CHECKPOINT", str(checkpoint))
    with pytest.raises(MissingExtraError) as caught:
        LLM(model)
    assert str(caught.value).startswith(f"{model} is not a bundle, so it has to be exported first, and ")
    assert str(caught.value).endswith(" is not installed; run: pip install 'pool-export[export]'")
    assert caught.value.extra == "export"
    assert caught.value.package in ("torch", "transformers", "onnx_ir")


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("path", ["./bundel", "../bundel", "some/folder/bundel", "{tmp}/bundel"])
def test_a_mistyped_path_is_not_answered_with_an_install_command(path: str, in_tmp_path: Path):
    path = path.replace("{tmp}", str(in_tmp_path))
    with pytest.raises(BundleError, match="bundel does not exist; expected a bundle, make one with: pool-export"):
        LLM(path)


@pytest.mark.usefixtures("without_torch")
def test_a_folder_that_is_neither_bundle_nor_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(BundleError, match=r"has no pool_export\.json; expected a bundle, make one with: pool-export"):
        LLM(tmp_path)


@pytest.mark.usefixtures("without_torch")
def test_a_graph_file_is_no_bundle(fake_bundle):
    with pytest.raises(BundleError, match=r"model\.onnx/pool_export\.json cannot be read .*expected a bundle folder"):
        LLM(fake_bundle() / "onnx/model.onnx")


def test_a_bug_of_our_own_is_not_reported_as_a_missing_extra(monkeypatch, checkpoint: Path):
    monkeypatch.setitem(sys.modules, "pool_export.export", ModuleType("pool_export.export"))
    monkeypatch.setitem(sys.modules, CACHE, None)
    with pytest.raises(ImportError) as caught:
        bundle_for(str(checkpoint))
    assert not isinstance(caught.value, MissingExtraError)


# -------------------------------------------------------------------------------------------- the cache


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("POOL_EXPORT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path))
    assert cache_folder() == tmp_path / ".cache/pool_export"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/pool_export"
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path / "ours"))
    assert cache_folder() == tmp_path / "ours"
