"""examples/hosts/java: compiled and run against the classes that Anserini's Python package carries."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from filelock import FileLock

from pool_export.runtime.llm import LLM
from pool_export.runtime.params import PoolingParams

from .programs import SPOILT, GetBundle, run, succeed, tool

pytestmark = pytest.mark.interop

# The one package of PyPI with onnxruntime's and DJL's Java classes and their libraries for Linux.
PACKAGE = "pyserini==1.6.0"
JAR = "pyserini/resources/jars/anserini-1.7.1-fatjar.jar"
OLD_IR = 9  # its onnxruntime is 1.17; 1.18 reads IR 10
KINDS = ("minilm", "cross-encoder", "byte-bpe-cross-encoder", "unigram-cross-encoder", "reward")
JDK = "apt-get install default-jdk-headless (17 or newer)"
TEXTS = ["A short one.", "", "Leaves turn light, water and air into sugar."]


@pytest.fixture(scope="session")
def jar(checkout: Path) -> Path:
    """Return the jar, downloaded once (165 MB) into build/hosts/."""
    folder = checkout / "build" / "hosts" / "java"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(JAR).name
    with FileLock(str(target) + ".lock"):
        if not target.exists():
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--dest", folder]
            succeed([*pip, PACKAGE])
            (archive,) = folder.glob("pyserini-*.tar.gz")
            with tarfile.open(archive) as tar:
                member = next(entry for entry in tar if entry.name.endswith(JAR))
                source = tar.extractfile(member)
                assert source is not None
                with target.with_suffix(".part").open("wb") as sink:
                    shutil.copyfileobj(source, sink)
            target.with_suffix(".part").rename(target)
            archive.unlink()
    return target


@pytest.fixture(scope="session")
def java(checkout: Path, jar: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command up to its arguments."""
    classes = tmp_path_factory.mktemp("classes")
    sources = sorted((checkout / "examples" / "hosts" / "java").rglob("*.java"))
    succeed([tool("javac", JDK), "-Xlint:all", "-Werror", "-cp", jar, "-d", classes, *sources])
    return [tool("java", JDK), "-cp", f"{jar}:{classes}", "bundlehost.Main"]


@pytest.fixture(scope="session")
def older(bundle_of: GetBundle, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return `older(name)`: the bundle with the graph's IR version lowered, nothing else."""
    made: dict[str, Path] = {}

    def copy(name: str) -> Path:
        if name not in made:
            target = tmp_path_factory.mktemp("older") / name
            shutil.copytree(bundle_of(name), target)
            model = onnx.load(target / "onnx" / "model.onnx")
            model.ir_version = OLD_IR
            onnx.save(model, target / "onnx" / "model.onnx")
            made[name] = target
        return made[name]

    return copy


@pytest.mark.parametrize("name", KINDS)
def test_golden_replays(name: str, java: list[str], older: Callable[[str], Path]) -> None:
    cases = json.loads((older(name) / "golden.json").read_text("utf-8"))["cases"]
    assert f"passed: {len(cases)} cases," in succeed([*java, "replay", older(name)])


@pytest.mark.parametrize("kind", SPOILT)
def test_a_difference_is_an_exit_code(
    kind: str, java: list[str], older: Callable[[str], Path], tmp_path: Path
) -> None:  # fmt: skip
    change, said = SPOILT[kind]
    shutil.copytree(older("cross-encoder"), tmp_path / "spoilt")
    golden = json.loads((tmp_path / "spoilt" / "golden.json").read_text("utf-8"))
    change(golden["cases"][0])
    (tmp_path / "spoilt" / "golden.json").write_text(json.dumps(golden), "utf-8")
    done = run([*java, "replay", tmp_path / "spoilt"])
    assert done.returncode == 1
    assert "FAILED: " in done.stdout
    assert f"case 0: {'token ids' if kind == 'ids' else ''}" in done.stderr
    assert said in done.stderr


def test_answers_are_those_of_llm(java: list[str], older: Callable[[str], Path], bundle_of: GetBundle) -> None:
    def rows(*arguments: object) -> list[object]:
        lines = succeed([*java, *map(str, arguments)]).splitlines()
        return [json.loads(line) for line in lines if line[:1] in "[0123456789-" and "INFO" not in line]

    llm = LLM(str(bundle_of("cross-encoder")))
    want = [output.outputs.score for output in llm.score(TEXTS[0], TEXTS)]
    np.testing.assert_allclose(rows("score", older("cross-encoder"), TEXTS[0], *TEXTS), want, atol=1e-5)
    llm = LLM(str(bundle_of("matryoshka")))
    cut = [output.outputs.embedding for output in llm.embed(TEXTS, pooling_params=PoolingParams(dimensions=8))]
    np.testing.assert_allclose(rows("embed", older("matryoshka"), 8, *TEXTS), cut, atol=1e-5)


def test_bad_input_is_said(java: list[str], tmp_path: Path) -> None:
    assert run(java).returncode == 2
    done = run([*java, "replay", tmp_path])
    assert done.returncode == 1
    assert "error: " in done.stderr
