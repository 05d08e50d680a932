"""What the tests of examples/hosts/ share: bundles of every kind, toolchains, and one way to run a program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Name -> arguments of the fixture `tiny_bundle`; together every tokenizer kind and every convert.
TINY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cross-encoder": ("bert", "sequence_1", {}),
    "classifier": ("bert", "sequence_3", {}),
    "token-classifier": ("bert", "token_5", {}),
    "matryoshka": ("bert", "base", {"export": {"hf_overrides": {"matryoshka_dimensions": [8, 16]}}}),
    "byte-bpe-cross-encoder": ("roberta", "sequence_1", {}),
    "unigram-cross-encoder": ("xlm-roberta", "sequence_1", {}),
    "no-segments": ("modernbert", "sequence_3", {}),
    "decoder": ("qwen3", "base", {}),
    "reward": ("qwen3", "sequence_1", {"export": {"convert": "reward"}}),
}
# What the issue of every host is: an embedder with real weights, and a model that reads pairs.
MAIN = ("minilm", "cross-encoder")

GetBundle = Callable[[str], Path]


@pytest.fixture(scope="session")
def bundle_of(request: pytest.FixtureRequest) -> GetBundle:
    """Return `bundle_of(name)`: all-MiniLM-L6-v2, or a tiny random bundle of a kind."""

    def bundle(name: str) -> Path:
        if name == "minilm":
            return request.getfixturevalue("minilm_bundle")
        if name == "minilm-int8":
            return _with_int8(request)
        family, head, options = TINY[name]
        return request.getfixturevalue("tiny_bundle")(family, head, **options)

    return bundle


def _with_int8(request: pytest.FixtureRequest) -> Path:
    """Export all-MiniLM-L6-v2 with an int8 graph beside the float32 one."""
    from pool_export.export.pipeline import export_model
    from pool_export.export.request import ExportRequest

    target = request.getfixturevalue("shared_folder") / "bundles" / "minilm-int8"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not (target / "pool_export.json").exists():
            folder = request.getfixturevalue("minilm_folder")
            export_model(ExportRequest(model=str(folder), output=target, precision=("fp32", "int8")))
    return target


# Changes of the first case of a golden.json, and what a program says of each.
SPOILT: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "ids": (lambda case: _repeat_last(case, "input_ids", "token_type_ids"), "differ"),
    "number": (lambda case: _first_output(case).__setitem__(0, 0.5), "differs by"),
    "shape": (lambda case: _first_output(case).append(0.5), "differs by"),
}


def _repeat_last(case: dict[str, Any], *names: str) -> None:
    for name in names:
        case[name].append(case[name][-1])


def _first_output(case: dict[str, Any]) -> list[float]:
    return next(iter(case["outputs"].values()))


@pytest.fixture
def spoilt(bundle_of: GetBundle, tmp_path: Path) -> Callable[..., Path]:
    """Return `spoilt(name, change)`: a copy of the bundle whose golden.json has another first case."""

    def copy(name: str, change: Callable[[dict[str, Any]], None]) -> Path:
        target = tmp_path / "spoilt"
        shutil.copytree(bundle_of(name), target)
        path = target / "golden.json"
        golden = json.loads(path.read_text("utf-8"))
        change(golden["cases"][0])
        path.write_text(json.dumps(golden), "utf-8")
        return target

    return copy


def tool(name: str, install: str) -> str:
    """Return the path of a program; without it the test fails and says how to get it."""
    path = shutil.which(name)
    return path or pytest.fail(f"{name} is not here: {install}")


def run(command: Sequence[str | Path], *, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a host's program; what it printed is in the result, whatever its exit code."""
    return subprocess.run(
        [str(word) for word in command],
        input=stdin,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def succeed(command: Sequence[str | Path], **options: Any) -> str:
    """Run a program that must end with 0; return its standard output."""
    done = run(command, **options)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def npm_packages(folder: Path) -> Path:
    """Install what a package-lock.json names (`npm ci`), once for each state of it; return the folder."""
    npm = tool("npm", "apt-get install nodejs npm (Node 20 or newer)")
    lock, done = folder / "package-lock.json", folder / "node_modules" / ".installed"
    build = folder.parents[2] / "build" / "hosts"
    build.mkdir(parents=True, exist_ok=True)
    with FileLock(build / f"{folder.name}.lock"):
        if not done.exists() or done.read_bytes() != lock.read_bytes():
            succeed([npm, "ci", "--no-audit", "--no-fund", "--prefix", folder])
            done.write_bytes(lock.read_bytes())
    return folder
