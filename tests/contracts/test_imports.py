"""Who imports what: the arrows of the design, and what an import may cost."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "onnxruntime", "numpy", "tokenizers", "huggingface_hub")

# folder -> the folders of ours it may import; lint-imports checks the same along whole chains
ARROWS = {
    "": {"cli", "export", "runtime", "poolers"},  # the lazy public names, and __main__
    "cli": {"cli", "export", "runtime", "poolers", "models_zoo", ""},
    "export": {"export", "runtime", "poolers", "models_zoo", ""},
    "runtime": {"runtime", "poolers", ""},
    "models_zoo": {"models_zoo", "poolers", ""},
    "poolers": {"poolers"},
}
DOOR = ("runtime/autoexport.py", "export")  # the one sanctioned, lazy exception
TORCH_HEADS = {"heads.py", "methods.py", "pooler.py"}


# ------------------------------------------------------------------------------------- what an import costs


def loaded_by(statement: str, *names: str) -> set[str]:
    """Return which of the top-level modules `names` a fresh interpreter has loaded after `statement`."""
    probe = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])} & set(names)


def test_the_package_imports_nothing_heavy() -> None:
    assert loaded_by("import pool_export; dir(pool_export); pool_export.__version__", *HEAVY) == set()


def test_the_errors_import_nothing_heavy() -> None:
    assert loaded_by("from pool_export import PoolExportError, InputError, PoolerConfig", *HEAVY) == set()


def test_the_command_line_imports_nothing_heavy() -> None:
    assert loaded_by("import pool_export.cli.main", *HEAVY) == set()


def test_the_runtime_imports_no_torch() -> None:
    assert loaded_by("import pool_export.runtime.llm", "torch", "transformers", "optimum", "onnx") == set()


def test_adopting_imports_no_torch() -> None:
    pytest.importorskip("onnx_ir")
    loaded = loaded_by("import pool_export.export.adopt.pipeline", "torch", "transformers", "optimum", "onnxscript")
    assert loaded == set()


def test_no_module_has_a_second_identity() -> None:
    import pool_export

    root = Path(str(pool_export.__file__)).resolve().parent
    folders = [root / name for name in ("poolers", "export", "runtime", "cli", "models_zoo")]
    strangers = [
        name
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and name.split(".")[0] not in ("pool_export", "__main__")
        if Path(file).parent == root or any(Path(file).is_relative_to(folder) for folder in folders)
    ]
    assert strangers == []


# ---------------------------------------------------------------------------------------- what the code says


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    target: str  # "poolers.spec" for ours, "torch.nn" for others'
    ours: bool
    lazy: bool  # inside a function, or for type checkers only

    @property
    def top(self) -> str:
        return self.target.split(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {'pool_export.' if self.ours else ''}{self.target}"


def imports_of(checkout: Path, file: Path) -> Iterator[Import]:
    """Yield the imports of one file; relative ones are resolved from the root."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(str(file), child.lineno, alias.name, ours=False, lazy=lazy)
            elif isinstance(child, ast.ImportFrom):
                yield from targets(child, lazy)
            else:
                inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from visit(child, lazy or inner or typing_only)

    def targets(node: ast.ImportFrom, lazy: bool) -> Iterator[Import]:
        if node.level == 0:
            yield Import(str(file), node.lineno, node.module or "", ours=False, lazy=lazy)
            return
        above = file.parent.parts
        base = above[: len(above) - (node.level - 1)]
        names = [node.module] if node.module else [alias.name for alias in node.names]
        for name in names:
            yield Import(str(file), node.lineno, ".".join((*base, name)), ours=True, lazy=lazy)

    yield from visit(ast.parse((checkout / file).read_text("utf-8")), lazy=False)


@pytest.fixture(scope="module")
def imports(checkout: Path, source_files: list[Path]) -> list[Import]:
    return [found for file in source_files for found in imports_of(checkout, file)]


def folder_of(file: str) -> str:
    return file.split("/")[0] if "/" in file else ""


def test_arrows_point_down(imports: list[Import]) -> None:
    def target_folder(found: Import) -> str:
        return found.top if found.top in ARROWS else ""  # `from .. import __version__`

    wrong = [
        str(found)
        for found in imports
        if found.ours and target_folder(found) not in ARROWS[folder_of(found.file)]
        if (found.file, found.top) != DOOR or not found.lazy
    ]
    assert wrong == []


def test_our_folders_import_each_other_relatively(imports: list[Import]) -> None:
    assert [str(found) for found in imports if not found.ours and found.top == "pool_export"] == []


def test_the_runtime_never_says_torch(imports: list[Import]) -> None:
    banned = {"torch", "transformers", "optimum", "onnx", "onnx_ir", "onnxscript"}
    theirs = [found for found in imports if found.file.startswith("runtime/") and not found.ours]
    assert theirs, "no imports found in runtime/"
    assert [str(found) for found in theirs if found.top in banned] == []


def test_light_poolers_are_plain_python(imports: list[Import]) -> None:
    heads = {f"poolers.{Path(name).stem}" for name in TORCH_HEADS}

    def is_plain(found: Import) -> bool:
        return found.target not in heads if found.ours else found.top in sys.stdlib_module_names

    light = [
        found for found in imports if found.file.startswith("poolers/") and Path(found.file).name not in TORCH_HEADS
    ]
    assert light, "no imports found in the light poolers"
    assert [str(found) for found in light if not is_plain(found)] == []


def test_commands_import_inside_functions(imports: list[Import]) -> None:
    light_exports = {"export.request", "export.errors", "export.engines.options"}  # an option is declared there, once

    def is_light(found: Import) -> bool:
        if found.ours:
            return found.top != "export" or found.target in light_exports
        return found.top in {"click"} | sys.stdlib_module_names

    at_import = [found for found in imports if found.file.startswith("cli/") and not found.lazy]
    assert [str(found) for found in at_import if not is_light(found)] == []
