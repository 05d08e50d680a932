from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pool_export.runtime import admission
from pool_export.runtime.admission import admit
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.engine import Engine
from pool_export.runtime.errors import ProviderError
from pool_export.runtime.llm import LLM

pytest.importorskip("openvino", reason="the openvino extra is not installed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_EXPORT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Return the engines that were checked."""
    seen: list[Engine] = []
    real = admission.replay

    def noted(engine: Engine, **how: bool):
        seen.append(engine)
        return real(engine, **how)

    monkeypatch.setattr(admission, "replay", noted)
    return seen


def test_what_the_export_verified_is_not_checked_again(tiny_bundle: Callable[..., Path], replays: list[Engine]):
    assert admit(Engine(open_bundle(tiny_bundle("bert")), RuntimeConfig(device="cpu"))) is None
    assert replays == []


def test_another_library_is_checked_once_a_host(tiny_bundle: Callable[..., Path], replays: list[Engine]):
    engine = Engine(open_bundle(tiny_bundle("bert")), RuntimeConfig(device="openvino"))
    found = admit(engine)
    assert found is not None
    assert (found.device, found.precision, found.failures) == ("openvino", "fp32", ())
    assert found.cases >= 24
    assert found.max_abs < 1e-4
    assert found.min_cosine > 0.99999
    assert admit(engine) == found
    assert len(replays) == 1


def test_a_new_version_of_the_library_is_checked_again(tiny_bundle: Callable[..., Path], replays: list[Engine]):
    engine = Engine(open_bundle(tiny_bundle("bert")), RuntimeConfig(device="openvino"))
    admit(engine)
    engine.session.backend.version = "openvino 9.9"
    admit(engine)
    assert len(replays) == 2


def test_a_library_that_answers_something_else_is_refused_and_stays_refused(
    bert_copy: Path, edit_json: Callable[..., None], replays: list[Engine]
):
    """As if the library were wrong: the golden vectors are turned around."""

    def turn(content: dict) -> None:
        for case in content["cases"]:
            case["outputs"]["sentence_embedding"] = [-value for value in case["outputs"]["sentence_embedding"]]

    edit_json(bert_copy / "golden.json", turn)
    for _ in range(2):
        with pytest.raises(
            ProviderError, match=r"openvino \S+ in fp32 disagrees with the golden vectors .* on this host"
        ):
            LLM(bert_copy, device="openvino")
    assert len(replays) == 1
    assert LLM(bert_copy, device="cpu").engine.session.device == "cpu"


def test_a_shorter_limit_of_the_user_does_not_matter(tiny_bundle: Callable[..., Path]):
    assert LLM(tiny_bundle("bert"), device="openvino", max_model_len=4).engine.session.device == "openvino"
