"""What of examples/hosts/ can be held to its word without a toolchain: syntax, package files, READMEs."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tree_sitter_c_sharp
import tree_sitter_go
import tree_sitter_java
import tree_sitter_rust
from tree_sitter import Language, Node, Parser

HOSTS = Path(__file__).resolve().parents[2] / "examples" / "hosts"
GRAMMARS: dict[str, Callable[[], object]] = {
    ".cs": tree_sitter_c_sharp.language,
    ".go": tree_sitter_go.language,
    ".java": tree_sitter_java.language,
    ".rs": tree_sitter_rust.language,
}
LINE = 120
SOURCES = [
    path.relative_to(HOSTS)
    for path in sorted(HOSTS.rglob("*"))
    if path.suffix in {*GRAMMARS, ".c", ".h", ".mjs", ".css"} and not {"node_modules", "site"} & set(path.parts)
]


def faults(node: Node) -> Iterator[str]:
    """Where the parser had to guess."""
    if node.type == "ERROR" or node.is_missing:
        yield f"line {node.start_point[0] + 1}: {node.type} {(node.text or b'')[:60]!r}"
    for child in node.children:
        yield from faults(child)


def parsed(suffix: str, source: bytes) -> Node:
    return Parser(Language(GRAMMARS[suffix]())).parse(source).root_node


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix in GRAMMARS], ids=str)
def test_source_has_no_syntax_error(path: Path, checkout: Path) -> None:
    root = parsed(path.suffix, (HOSTS / path).read_bytes())
    assert list(faults(root)) == []
    assert root.named_child_count > 1


@pytest.mark.parametrize("suffix", GRAMMARS)
def test_the_parser_sees_a_missing_bracket(suffix: str, checkout: Path) -> None:
    """A check that cannot fail proves nothing."""
    path = next(path for path in SOURCES if path.suffix == suffix)
    source = (HOSTS / path).read_bytes()
    spoilt = source[: source.rindex(b"}")] + source[source.rindex(b"}") + 1 :]
    assert list(faults(parsed(suffix, spoilt)))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_are_short_and_narrow(path: Path, checkout: Path) -> None:
    lines = (HOSTS / path).read_text("utf-8").splitlines()
    assert len(lines) <= 300
    narrow = path.suffix != ".css"  # a rule a line
    assert [line for line in lines if narrow and len(line) > LINE] == []


def test_every_language_of_the_plan_is_here(checkout: Path) -> None:
    folders = {path.name for path in HOSTS.iterdir() if path.is_dir()}
    assert folders == {"browser", "c", "csharp", "go", "java", "node", "rust"}


@pytest.mark.parametrize("host", sorted(path.name for path in HOSTS.iterdir() if path.is_dir()))
def test_readme_says_what_was_checked_and_names_files_that_exist(host: str, checkout: Path) -> None:
    text = (HOSTS / host / "README.md").read_text("utf-8")
    assert "\n## What was checked\n" in text
    assert "replay" in text
    for name in re.findall(r"`([\w./-]+\.(?:mjs|c|h|cs|go|rs|java|toml|xml|html|css))`", text):
        assert list((HOSTS / host).rglob(name)) or name in {"ortx_tokenizer.h"}, f"{host}: no file {name}"


@pytest.mark.parametrize("host", ["node", "browser"])
def test_package_and_lock_agree(host: str, checkout: Path) -> None:
    package = json.loads((HOSTS / host / "package.json").read_text("utf-8"))
    lock = json.loads((HOSTS / host / "package-lock.json").read_text("utf-8"))
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    for name, version in package["dependencies"].items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    assert all("integrity" in entry for name, entry in lock["packages"].items() if name)
    assert not any("resolved" in entry for entry in lock["packages"].values()), "a lock names no registry"


def test_package_files_parse(checkout: Path) -> None:
    cargo = tomllib.loads((HOSTS / "rust" / "Cargo.toml").read_text("utf-8"))
    assert {"ort", "tokenizers"} <= set(cargo["dependencies"])
    pom = ElementTree.parse(HOSTS / "java" / "pom.xml").getroot()
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    assert {"onnxruntime", "tokenizers"} <= {node.text for node in pom.findall(".//m:artifactId", space)}
    project = ElementTree.parse(HOSTS / "csharp" / "BundleHost.csproj").getroot()
    assert {"Microsoft.ML.OnnxRuntime", "Microsoft.ML.Tokenizers"} == {
        node.get("Include") for node in project.iter("PackageReference")
    }
    module = (HOSTS / "go" / "go.mod").read_text("utf-8")
    required = dict(re.findall(r"^\t(\S+) (v[\d.]+)$", module, re.MULTILINE))
    imported = set(
        re.findall(r'"(github\.com/\S+)"', "".join(p.read_text("utf-8") for p in (HOSTS / "go").glob("*.go")))
    )
    assert set(required) == imported
