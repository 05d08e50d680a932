"""`pool-export serve`: what is said before anything is served."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from pool_export.cli.serve import _SECTIONS, serve_command

from .conftest import Result


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "orjson"])
def test_without_the_extra_one_line_names_the_command(package: str) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; from pool_export.cli.main import main; main(['serve', 'x'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {package} is not installed; run: pip install 'pool-export[server]'\n"


def test_help_needs_no_extra() -> None:
    blocked = "import sys; sys.modules.update(starlette=None, uvicorn=None, onnxruntime=None); "
    script = blocked + "from pool_export.cli.main import main; main(['serve', '--help'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: pool-export serve")


def test_the_help_page_has_every_option_once_and_the_engines_in_their_section(call: Callable[..., Result]) -> None:
    lines = call("serve", "--help").out.splitlines()
    titles = [line.rstrip(":") for line in lines if line and not line.startswith(" ")][1:]
    assert [title for title in titles if title in _SECTIONS] == [*titles[:-1]]
    assert titles[-1] == "Other options"
    shown = [line.split()[0].rstrip(",") for line in lines if line.startswith("  -")]
    options = [item for item in serve_command.params if isinstance(item, click.Option)]
    assert sorted(shown) == sorted([*(item.opts[0] for item in options), "-h"])
    assert lines.index("Engine:") < next(at for at, line in enumerate(lines) if "--max-batch-tokens" in line)


def test_no_model_is_wrong_usage(call: Callable[..., Result]) -> None:
    result = call("serve")
    assert (result.code, result.error()) == (2, "Missing argument '[NAME=]MODEL…'.")
