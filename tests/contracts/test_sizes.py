"""The line budget: a file is read in one sitting, a function on one screen."""

from __future__ import annotations

import ast
from pathlib import Path

FILE_LINES = 300
FUNCTION_LINES = 60


def test_files_are_short(checkout: Path, source_files: list[Path]) -> None:
    counts = {str(file): len((checkout / file).read_text("utf-8").splitlines()) for file in source_files}
    assert {name: count for name, count in counts.items() if count > FILE_LINES} == {}


def test_functions_are_short(checkout: Path, source_files: list[Path]) -> None:
    long = {}
    for file in source_files:
        for node in ast.walk(ast.parse((checkout / file).read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{file}:{node.lineno} {node.name}"] = lines
    assert long == {}
