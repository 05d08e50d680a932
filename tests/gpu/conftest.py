"""`make gpu-check`: the tests that need an NVIDIA GPU. Where a device is missing its tests skip, with what is missing.

`POOL_EXPORT_GPU_CHECK=cpu` rehearses what can be rehearsed without one: the same tests, on the CPU.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_export.runtime.backends.devices import DeviceState, device_states
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.engines.library import LIBRARIES

DEVICES = ("cuda", *LIBRARIES)
REHEARSED = os.environ.get("POOL_EXPORT_GPU_CHECK", "")
# Kind of head -> the bundle that stands for it.
KINDS = {
    "embed": ("bert", "base", {}),
    "embed a decoder": ("qwen3", "base", {}),
    "classify": ("bert", "sequence_3", {}),
    "score": ("bert", "sequence_1", {}),
    "reward": ("qwen3", "sequence_1", {"convert": "reward"}),
}
# Narrower or deeper, random weights miss the bar of bf16 already in the export.
_SIZE = {"layers": 1, "hidden_size": 256}
_HALVES = {"precision": ("fp16", "bf16")}

Device = Callable[[str], None]
Bundles = Callable[..., Path]


@pytest.fixture(scope="session")
def states() -> dict[str, DeviceState]:
    return {state.device: state for state in device_states()}


@pytest.fixture(scope="session")
def need(states: dict[str, DeviceState]) -> Device:
    """Return `need(device)`: skip, with what is missing, where a device cannot be used."""

    def require(device: str) -> None:
        if REHEARSED and device not in LIBRARIES:
            return
        if not states[device].usable:
            pytest.skip(f"device {device}: {states[device].about}")

    return require


@pytest.fixture(scope="session")
def on_gpu(tiny_bundle: Bundles, shared_folder: Path, need: Device) -> Bundles:
    """Return `on_gpu(kind, device, precision)`: a bundle that the device can run, its engine built if it takes one."""

    def bundle(kind: str, device: str, precision: str) -> Path:
        need(device)
        family, head, options = KINDS[kind]
        made = tiny_bundle(family, head, export={**_HALVES, **options}, **_SIZE)
        if device not in LIBRARIES:
            return made
        from pool_export.export.engines.build import build_engine
        from pool_export.export.engines.options import EngineOptions
        from pool_export.export.reporting import SilentReporter

        folder = shared_folder / "gpu" / made.name
        if not folder.exists():
            shutil.copytree(made, folder)
        manifest = open_bundle(folder).manifest
        build_engine(folder, manifest, precision, EngineOptions(target=device), SilentReporter())  # type: ignore[arg-type]
        return folder

    return bundle


def device_name(device: str) -> str:
    """What to open: the device itself, or what it is rehearsed on."""
    return REHEARSED if REHEARSED and device not in LIBRARIES else device
