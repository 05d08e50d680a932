"""`pool-export doctor`: what is here, what is missing, and the command that brings it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pool_export.cli import doctor

from .conftest import Result

Call = Callable[..., Result]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return `pretend(torch=None, ...)`: those packages have these versions (dots for underscores)."""
    real = doctor._version

    def install(**versions: str | None) -> None:
        table = {name.replace("_", "-"): version for name, version in versions.items()}
        monkeypatch.setattr(doctor, "_version", lambda name: table[name] if name in table else real(name))

    return install


def test_json_has_the_documented_keys(call: Call) -> None:
    result = call("doctor", "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert {key: type(value).__name__ for key, value in document.items()} == {
        "version": "str", "python": "str", "platform": "str", "cpus": "int", "cpu_flags": "list", "packages": "dict",
        "rules": "list", "devices": "list",
        "providers": "list", "cache": "str", "findings": "list",
    }  # fmt: skip
    assert "CPUExecutionProvider" in document["providers"]
    assert {item["device"]: item["usable"] for item in document["devices"]}["cpu"]
    assert document["packages"]["base"]["numpy"] == importlib.metadata.version("numpy")
    assert all(set(item) == {"level", "what", "remedy"} for item in document["findings"])


def test_packages_are_those_that_the_project_declares(checkout: Path) -> None:
    import tomllib

    project = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {"base": project["dependencies"], **project["optional-dependencies"]}
    names = {extra: {re.split(r"[^\w.-]", line)[0] for line in lines} for extra, lines in declared.items()}
    installed = importlib.metadata.requires("pool-export") or []
    fresh = {re.split(r"[^\w.-]", line)[0] for line in installed}
    assert {extra: set(found) for extra, found in doctor.collect()["packages"].items()} == {
        extra: names[extra] & fresh for extra in doctor.EXTRAS
    }


@pytest.mark.parametrize(
    ("versions", "code", "level", "what", "remedy"),
    [
        ({"onnxruntime": None}, 1, "error", "no onnxruntime: nothing can be run", "pip install 'pool-export[cpu]'"),
        (
            {"onnxruntime": "1.32.0", "onnxruntime_gpu": "1.31.0"}, 1, "error",
            "onnxruntime and onnxruntime-gpu share one folder and overwrite each other",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'pool-export[gpu]'",
        ),
        (
            {"torch": None, "onnx": None}, 0, "info", "cannot export, missing onnx, torch; bundles still run",
            "pip install 'pool-export[export]'",
        ),
        (
            {"starlette": None, "uvloop": None}, 0, "info",
            "cannot serve over HTTP, missing starlette, uvloop; the commands still run bundles",
            "pip install 'pool-export[server]'",
        ),
    ],
    ids=["no runtime", "two runtimes", "no exporter", "no server"],
)  # fmt: skip
def test_what_is_missing_has_a_remedy(
    versions: Mapping[str, Any], code: int, level: str, what: str, remedy: str, call: Call, pretend: Callable[..., None]
) -> None:
    pretend(**versions)
    result = call("doctor")
    assert result.code == code
    assert f"{level}: {what}\n  → {remedy}\n" in result.out


def test_the_servers_packages_are_shown_with_their_versions(call: Call, pretend: Callable[..., None]) -> None:
    pretend(starlette="9.8.7", uvicorn=None)
    rows = [line.split() for line in call("doctor").out.splitlines()]
    assert ["server", "starlette", "9.8.7"] in rows
    assert ["server", "uvicorn", "-"] in rows


def test_it_imports_no_torch() -> None:
    script = "import sys; from pool_export.cli.doctor import collect; collect(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_a_processor_with_every_extension_stays_within_a_screen(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool_export.cli.output.terminal_width", lambda: 80)
    flags = ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"]
    monkeypatch.setattr(doctor, "_cpu_flags", lambda: flags)
    lines = call("doctor").out.split("\n")
    start = next(index for index, line in enumerate(lines) if "usable core(s)" in line)
    assert " ".join(lines[start : start + 2]).endswith(", ".join(flags))
    assert all(len(line) <= 80 for line in lines[: start + 2])
