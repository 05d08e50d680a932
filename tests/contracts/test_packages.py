"""The package list of pyproject.toml and the folders on disk say the same."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOT_SHIPPED = {"tests", "benchmarks", "examples", "docs", "build", "dist"}
SHIPPED_OTHERWISE = {".py", ".typed"}  # by `packages`, and by package-data of the root


def code_folders(checkout: Path, pattern: str) -> set[str]:
    """Return the folders, relative to the root, of the files that match; tests, build and hidden ones apart."""
    found = (file.relative_to(checkout).parent for file in checkout.rglob(pattern))
    ours = (parts for parts in (folder.parts for folder in found) if not set(parts[:1]) & NOT_SHIPPED)
    return {"/".join(parts) for parts in ours if not any(part.startswith(".") for part in parts)}


def test_packages_are_the_folders_on_disk(checkout: Path, package_folders: Mapping[str, str]) -> None:
    assert set(package_folders.values()) == code_folders(checkout, "__init__.py")


def test_every_folder_of_python_files_is_a_package(checkout: Path) -> None:
    assert code_folders(checkout, "*.py") == code_folders(checkout, "__init__.py")


def test_tests_are_no_package(checkout: Path) -> None:
    # With one, pytest would import the tests as a package below the root, and the root with them.
    assert list((checkout / "tests").rglob("__init__.py")) == []


def test_every_data_file_is_shipped(
    checkout: Path, pyproject: Mapping[str, Any], package_folders: Mapping[str, str]
) -> None:
    shipped: set[Path] = set()
    for name, patterns in pyproject["tool"]["setuptools"]["package-data"].items():
        for pattern in patterns:
            shipped |= set((checkout / package_folders[name]).glob(pattern))
    top = {folder.split("/")[0] for folder in package_folders.values()} - {""}
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *sorted(top)],
        cwd=checkout, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    forgotten = [
        name
        for name in tracked
        if name and (path := checkout / name).is_file() and path not in shipped
        if path.suffix not in SHIPPED_OTHERWISE and path.name not in ("ruff.toml", "README.md")
    ]
    assert forgotten == []
    assert (checkout / "py.typed") in shipped


def test_constraints_pin_every_direct_dependency(checkout: Path, pyproject: Mapping[str, Any]) -> None:
    lines = (checkout / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if not line.startswith("#"))
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    tested = [
        *project["dependencies"],
        *(need for name in ("cpu", "export", "dev", "test") for need in extras[name]),
    ]
    for need in tested:
        if need.startswith(f"{project['name']}["):
            continue
        name, floor = need.split(">=")
        assert name in pins, f"constraints.txt does not pin {name}"
        assert numbers(pins[name]) >= numbers(floor), f"{name}: the floor {floor} was never run"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
