"""Which model a request means, and when a server is ready."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pool_export.runtime.errors import InputError, RuntimeFailure
from pool_export.runtime.scheduling.call import Stopping
from pool_export.runtime.server import models
from pool_export.runtime.server.models import Registry, display_name
from pool_export.runtime.server.problems import ModelNotFound

Make = Callable[..., Any]


def eventually(holds: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(holds() or pause.wait(0.005) for _ in range(2000)) and holds()


def test_a_model_is_picked_by_name_or_by_what_it_can_do(make_served: Make) -> None:
    first, second = make_served("first"), make_served("second", "classify")
    registry = Registry([first, second])
    assert registry.pick("second", ("embed",)) is second  # the route says why it cannot
    assert registry.pick(None, ("embed",)) is first
    assert registry.pick("", ("classify",)) is second
    assert registry.pick(None, ("reward",)) is first
    assert registry.pick(None, ()) is first
    with pytest.raises(ModelNotFound, match=r"The model `third` does not exist\. Models served here: first, second"):
        registry.pick("third", ())


def test_names_are_unique_and_there_is_a_model(make_served: Make) -> None:
    with pytest.raises(InputError, match="two bundles are named 'one'; give each its own: NAME=BUNDLE"):
        Registry([make_served("one"), make_served("one")])
    with pytest.raises(InputError, match="nothing to serve"):
        Registry([])


@pytest.mark.parametrize(
    ("source", "expected"),
    [("acme/model", "acme/model"), ("/data/models/mine/", "mine"), ("./mine", "mine"), ("../up/mine", "mine")],
)
def test_a_bundle_without_a_name_is_called_by_its_source(source: str, expected: str) -> None:
    bundle = SimpleNamespace(manifest=SimpleNamespace(source=SimpleNamespace(id=source)))
    assert display_name(bundle) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("convert", ["embed", "classify", "reward"])
def test_a_probe_is_a_forward_pass(make_served: Make, convert: str) -> None:
    served = make_served(convert=convert)
    served.probe()
    assert served.graph.calls == 1
    served.graph.is_finite = False
    with pytest.raises(RuntimeFailure, match="finite"):
        served.probe()


def test_a_failing_model_is_named_until_a_forward_pass_succeeds(
    make_served: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_PROBE_PAUSE", 0.0)
    good, bad = make_served("good"), make_served("bad")
    registry = Registry([good, bad])
    assert registry.failing() == []
    bad.graph.error = RuntimeFailure("no memory")
    for _ in range(3):
        with pytest.raises(RuntimeFailure):
            bad.probe()
    assert registry.failing() == ["bad"]
    bad.graph.error = None
    assert eventually(lambda: registry.failing() == [])
    assert good.graph.calls == 0


def test_asking_often_does_not_probe_often(make_served: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    served = make_served()
    registry = Registry([served])
    served.graph.error = RuntimeFailure("no memory")
    for _ in range(3):
        with pytest.raises(RuntimeFailure):
            served.probe()
    before = served.graph.calls
    assert {tuple(registry.failing()) for _ in range(200)} == {("fake",)}
    assert eventually(lambda: served.graph.calls == before + 1)
    assert served.graph.calls == before + 1
    # One that hangs is not joined by another, and nobody waits for it.
    monkeypatch.setattr(models, "_PROBE_PAUSE", 0.0)
    registry = Registry([served])
    served.graph.open.clear()
    assert {tuple(registry.failing()) for _ in range(200)} == {("fake",)}
    assert eventually(lambda: served.graph.calls == before + 2)
    assert served.scheduler.queued_rows == 0


def test_closing_ends_the_schedulers(make_served: Make) -> None:
    registry = Registry([make_served("a"), make_served("b")])
    assert registry.ended() == []
    assert registry.close(20) is True
    assert registry.ended() == ["a", "b"]


def test_closing_does_not_wait_for_a_stuck_graph(make_served: Make) -> None:
    served = make_served()
    served.graph.open.clear()

    def probe() -> None:
        with pytest.raises(Stopping):
            served.probe()

    thread = threading.Thread(target=probe)
    thread.start()
    assert served.graph.entered.wait(20)
    assert Registry([served]).close(0.02) is False
    thread.join(20)
    assert not thread.is_alive()


def test_a_served_model_knows_its_pooling(make_served: Make) -> None:
    assert make_served(convert="classify").spec.convert == "classify"
    assert replace(make_served(), name="x").name == "x"
