"""Bundles appear whole or not at all, and what was there before stays until then."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export import LLM
from pool_export.export import pipeline, write
from pool_export.export.errors import ExportError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.export.write import check_target, staged
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.manifest import MANIFEST_NAME


def make_bundle(folder: Path, text: str = "old") -> Path:
    folder.mkdir(parents=True)
    (folder / MANIFEST_NAME).write_text(text)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------- the target


def test_a_missing_or_empty_target_is_fine(tmp_path: Path):
    check_target(tmp_path / "new" / "deep", force=False)
    check_target(tmp_path, force=False)


def test_a_bundle_is_replaced_only_when_forced(tmp_path: Path):
    bundle = make_bundle(tmp_path / "bundle")
    with pytest.raises(ExportError, match="already holds a bundle; pass --force"):
        check_target(bundle, force=False)
    check_target(bundle, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_a_bundle_is_never_replaced(tmp_path: Path, force: bool):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("ten years")
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "file", "dangling"):
        with pytest.raises(ExportError, match="is not a bundle; it is never replaced"):
            check_target(tmp_path / name, force)


def test_a_taken_target_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bundle = make_bundle(tmp_path / "bundle")
    monkeypatch.setattr(pipeline, "open_source", lambda request: pytest.fail("work was done"))
    with pytest.raises(ExportError, match="already holds a bundle"):
        export_model(ExportRequest(model="no-such-model", output=bundle))


# ------------------------------------------------------------------------------------------------- staged()


def test_the_folder_appears_when_the_block_is_done(tmp_path: Path, leftovers: Any):
    with staged(tmp_path / "deep" / "bundle", force=False) as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "bundle").exists()
        assert folder.parent == tmp_path / "deep", "a rename needs the same file system"
    assert contents(tmp_path) == {"deep/bundle/a": b"1"}
    assert leftovers() == ["deep"]


def test_an_empty_folder_becomes_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with staged(Path(), force=False) as folder:
        (folder / "a").write_text("1")
    assert contents(tmp_path) == {"a": b"1"}


@pytest.mark.parametrize("failure", [ValueError("x"), KeyboardInterrupt(), SystemExit(1), MemoryError()], ids=repr)
@pytest.mark.parametrize("existing", [False, True])
def test_nothing_stays_of_a_block_that_fails(tmp_path: Path, leftovers: Any, failure: BaseException, existing: bool):
    if existing:
        make_bundle(tmp_path / "bundle")
    before = contents(tmp_path)
    with pytest.raises(type(failure)), staged(tmp_path / "bundle", force=existing) as folder:  # noqa: PT012
        (folder / "half").write_text("done")
        raise failure
    assert contents(tmp_path) == before
    assert leftovers() == (["bundle"] if existing else [])


def test_a_full_disk_is_one_line(tmp_path: Path, leftovers: Any):
    message = r"writing .*bundle failed: No space left on device; nothing was left behind"
    with pytest.raises(ExportError, match=message), staged(tmp_path / "bundle", force=False):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert leftovers() == []


def test_a_disk_that_fails_at_the_last_moment_keeps_the_old_bundle(
    tmp_path: Path, leftovers: Any, monkeypatch: pytest.MonkeyPatch
):
    make_bundle(tmp_path / "bundle")
    before = contents(tmp_path)
    replace = os.replace

    def broken(source: Path, target: Path) -> None:
        if str(source).endswith(".partial"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(ExportError, match="Input/output error"), staged(tmp_path / "bundle", force=True):
        pass
    assert contents(tmp_path) == before
    assert leftovers() == ["bundle"]


def test_the_old_bundle_goes_when_the_new_one_is_there(tmp_path: Path, leftovers: Any):
    make_bundle(tmp_path / "bundle")
    with staged(tmp_path / "bundle", force=True) as folder:
        (folder / MANIFEST_NAME).write_text("new")
        assert contents(tmp_path / "bundle") == {MANIFEST_NAME: b"old"}
    assert contents(tmp_path / "bundle") == {MANIFEST_NAME: b"new"}
    assert leftovers() == ["bundle"]


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path, leftovers: Any):
    make_bundle(tmp_path / "store" / "v1")
    (tmp_path / "current").symlink_to("store/v1")
    with staged(tmp_path / "current", force=True) as folder:
        (folder / MANIFEST_NAME).write_text("new")
    assert (tmp_path / "current").is_symlink()
    assert contents(tmp_path / "store") == {f"v1/{MANIFEST_NAME}": b"new"}
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["v1"]
    assert leftovers() == ["current", "store"]


def test_a_target_that_was_taken_meanwhile_is_not_replaced(tmp_path: Path, leftovers: Any):
    with pytest.raises(ExportError, match="already holds a bundle"), staged(tmp_path / "bundle", force=False):
        make_bundle(tmp_path / "bundle", "somebody else's")
    assert contents(tmp_path) == {f"bundle/{MANIFEST_NAME}": b"somebody else's"}
    assert leftovers() == ["bundle"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match="cannot write beside"), staged(tmp_path / "file" / "bundle", force=False):
        pass


# --------------------------------------------------------------------------------------------- whole exports


def export(model: Path, output: Path, **options: Any) -> pipeline.ExportResult:
    return export_model(ExportRequest(model=str(model), output=output, **options))


def test_everyone_may_read_a_bundle(small_bert: Path, tmp_path: Path, trace_once: None):
    mask = os.umask(0o022)
    try:
        export(small_bert, tmp_path / "bundle")
    finally:
        os.umask(mask)
    paths = [tmp_path / "bundle", *(tmp_path / "bundle").rglob("*")]
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert {name: oct(mode) for name, mode in modes.items() if mode not in (0o755, 0o644)} == {}
    assert modes["bundle/onnx"] == 0o755
    assert modes["bundle/onnx/model.onnx"] == 0o644


def test_a_bundle_lists_the_files_of_the_design(small_bert: Path, tmp_path: Path, trace_once: None):
    export(small_bert, tmp_path / "bundle")
    assert {
        "pool_export.json",
        "README.md",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "modules.json",
        "1_Pooling/config.json",
        "onnx/model.onnx",
        "golden.json",
    } <= set(contents(tmp_path / "bundle"))


def test_big_weights_go_into_a_file_of_their_own(
    small_bert: Path, tmp_path: Path, trace_once: None, monkeypatch: pytest.MonkeyPatch
):
    export(small_bert, tmp_path / "one")
    monkeypatch.setattr(write, "EXTERNAL_DATA_THRESHOLD", 1000)
    export(small_bert, tmp_path / "two")
    (graph,) = open_bundle(tmp_path / "two").manifest.graphs.values()
    assert [item.path for item in graph.files] == ["onnx/model.onnx", "onnx/model.onnx_data"]
    assert graph.files[0].size < graph.files[1].size
    assert open_bundle(tmp_path / "two").verify_hashes() == ["onnx/model.onnx", "onnx/model.onnx_data"]
    answers = [LLM(tmp_path / name, threads=1).embed("Hello, my name is")[0].outputs.data for name in ("one", "two")]
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("step", ["write_tokenizer", "write_graph", "verify", "write_golden", "write_card"])
@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), RuntimeError("a bug"), OSError(errno.ENOSPC, "full")], ids=repr
)
def test_an_export_that_is_broken_off_leaves_the_old_bundle_and_nothing_else(
    small_bert: Path,
    tmp_path: Path,
    leftovers: Any,
    trace_once: None,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    failure: BaseException,
):
    make_bundle(tmp_path / "bundle")

    def broken(*args: Any, **options: Any) -> None:
        raise failure

    monkeypatch.setattr(pipeline, step, broken)
    expected = ExportError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected):
        export(small_bert, tmp_path / "bundle", force=True)
    assert contents(tmp_path) == {f"bundle/{MANIFEST_NAME}": b"old"}
    assert leftovers() == ["bundle"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse bytes beyond `size` in any file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# In turn too small for: any tokenizer file, tokenizer.json, the graph.
@pytest.mark.parametrize("size", [100, 10_000, 60_000, 100_000])
@pytest.mark.parametrize("external", [False, True])
def test_a_disk_that_really_refuses_is_one_line(
    small_bert: Path,
    tmp_path: Path,
    leftovers: Any,
    trace_once: None,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    external: bool,
):
    if external:
        monkeypatch.setattr(write, "EXTERNAL_DATA_THRESHOLD", 1000)
    with pytest.raises(ExportError) as caught, largest_file(size):
        export(small_bert, tmp_path / "bundle")
    assert "File too large" in str(caught.value)
    assert leftovers() == []


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, "Tracing"), (signal.SIGTERM, "Verifying")], ids=["ctrl-c", "terminated"]
)
def test_a_signal_leaves_nothing_behind(
    small_bert: Path, tmp_path: Path, leftovers: Callable[[], list[str]], number: signal.Signals, moment: str
):
    command = [sys.executable, "-m", "pool_export", str(small_bert), "-o", "bundle"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stderr or ():
            said.append(line)
            if moment in line:
                assert process.poll() is None
                process.send_signal(number)
        assert process.wait(timeout=60) != 0
    assert moment in "".join(said)
    assert [line for line in said if "Traceback" in line] == []
    assert re.fullmatch(r"Error: (interrupted|terminated); nothing was left behind\n", said[-1])
    assert leftovers() == []
