from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.cache import write_record
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.errors import MissingExtraError, ProviderError
from pool_export.runtime.opening import open_engine
from pool_export.runtime.tuned import Tuned, tuned_path

CHOICE = Tuned(
    device="openvino", precision="fp32", streams=1, max_batch_tokens=256, threads=2, backend="openvino 0",
    tokens_per_second=1.0, min_cosine=1.0, date="2026-01-01",
)  # fmt: skip
CONFIG = RuntimeConfig(threads=2)


@pytest.fixture
def bundle(tiny_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a bundle that was tuned for OpenVINO on this host."""
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path / "cache"))
    folder = tiny_bundle("bert")
    write_record(tuned_path(open_bundle(folder)), CHOICE)
    return folder


def test_a_tuned_library_that_is_gone_is_an_error_that_says_how_to_forget(bundle: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ProviderError, match=r"openvino is not installed.*tuned for device 'openvino'") as caught:
        open_engine(open_bundle(bundle), CONFIG)
    assert str(caught.value).endswith(f"to forget that: pool-export tune {bundle} --forget")


def test_what_was_not_tuned_has_nothing_to_forget(bundle: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError) as caught:
        open_engine(open_bundle(bundle), replace(CONFIG, device="openvino"))
    assert "forget" not in str(caught.value)


def test_a_choice_made_with_another_library_is_used_and_said(bundle: Path, caplog: pytest.LogCaptureFixture):
    version = pytest.importorskip("openvino", reason="the openvino extra is not installed").__version__
    with caplog.at_level(logging.INFO, "pool_export.runtime"):
        engine = open_engine(open_bundle(bundle), CONFIG)
    assert (engine.session.device, engine.config.max_batch_tokens) == ("openvino", 256)
    assert f"tuned with openvino 0, this is openvino {version}; run: pool-export tune" in caplog.messages
