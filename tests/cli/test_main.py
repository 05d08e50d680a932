"""The group: default command, suggestions, help, version, and which code a command exits with."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_export.cli import export
from pool_export.cli.main import COMMANDS
from pool_export.export.request import ExportRequest

from .conftest import Result

Call = Callable[..., Result]


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[ExportRequest]:
    """Record what would be exported, and stop there."""
    requests: list[ExportRequest] = []

    def record(request: ExportRequest) -> None:
        requests.append(request)
        raise SystemExit(0)

    monkeypatch.setattr(export, "run_export", record)
    return requests


@pytest.mark.parametrize(
    "words",
    [
        ("org/name", "--convert", "classify", "--opset", "19"),
        ("--convert", "classify", "org/name", "--opset=19"),
        ("export", "org/name", "--opset", "19", "--convert", "classify"),
    ],
    ids=["model first", "options first", "spelled out"],
)
def test_a_model_alone_is_exported(words: tuple[str, ...], call: Call, requested: list[ExportRequest]) -> None:
    assert call(*words).code == 0
    assert requested == [ExportRequest(model="org/name", convert="classify", opset=19)]


def test_a_folder_named_almost_like_a_command_is_a_model(
    call: Call, requested: list[ExportRequest], in_tmp_path: Path
) -> None:
    (in_tmp_path / "inspct").mkdir()
    assert call("inspct").code == 0
    assert [request.model for request in requested] == ["inspct"]


@pytest.mark.parametrize(("typo", "meant"), [("inspct", "inspect"), ("clasify", "classify"), ("Embed", "embed")])
def test_a_typo_of_a_command_names_the_nearest(typo: str, meant: str, call: Call) -> None:
    result = call(typo, "./bundle")
    assert result.code == 2
    assert result.error() == f"{typo!r} is neither a command nor a folder; did you mean {meant!r}?"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help_with_an_example(command: str, flag: str, call: Call) -> None:
    result = call(command, flag)
    assert (result.code, result.err) == (0, "")
    assert f"\n    pool-export {'./my-model' if command == 'export' else command}" in result.out


def test_help_lists_the_commands_without_importing_one(process: Call) -> None:
    result = process("--help")
    assert result.code == 0
    listed = [line.split()[0] for line in result.out.split("Commands:\n")[1].splitlines()]
    assert listed == list(COMMANDS)
    script = (
        "import sys; from pool_export.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([n for n in sys.modules if n.startswith('pool_export.cli.')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "['pool_export.cli.errors', 'pool_export.cli.main']"


def test_nothing_at_all_is_wrong_usage_and_shows_the_help(call: Call) -> None:
    result = call()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: pool-export [OPTIONS] COMMAND [ARGS]...")


def test_version_is_the_installed_one(process: Call) -> None:
    assert process("--version") == Result(0, f"pool-export, version {importlib.metadata.version('pool-export')}\n", "")


def test_the_script_and_the_module_are_one_program(process: Call) -> None:
    script = Path(sys.executable).with_name("pool-export")
    done = subprocess.run([script, "doctor", "--nonsense"], capture_output=True, text=True, check=False)
    assert process("doctor", "--nonsense") == Result(done.returncode, done.stdout, done.stderr)
    assert done.returncode == 2


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("doctor", "demo")])
def test_a_missing_argument_is_wrong_usage(command: str, call: Call) -> None:
    result = call(command)
    assert result.code == 2
    assert result.error().startswith(("Missing argument '", "Missing command"))


def test_an_unknown_option_names_the_nearest(call: Call) -> None:
    result = call("./my-model", "--covnert", "embed")
    assert result.code == 2
    assert "No such option '--covnert'." in result.error()
    assert "'--convert'" in result.error()
