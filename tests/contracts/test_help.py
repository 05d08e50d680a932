"""The stored `--help` pages are what the commands print; `make docs` rewrites them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

PAGES = Path(__file__).resolve().parent / "help"
WIDTH = 100


def page_name(words: tuple[str, ...]) -> str:
    return "-".join(("pool-export", *words)) + ".txt"


def help_page(group: click.Group, words: tuple[str, ...]) -> str:
    result = CliRunner().invoke(group, [*words, "--help"], prog_name="pool-export", terminal_width=WIDTH, color=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def pages(command_group: click.Group, commands: dict[tuple[str, ...], click.Command]) -> dict[str, str]:
    return {page_name(words): help_page(command_group, words) for words in commands}


def test_help_pages_are_fresh(pages: dict[str, str], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-help"):
        PAGES.mkdir(exist_ok=True)
        for old in PAGES.glob("*.txt"):
            old.unlink()
        for name, text in pages.items():
            (PAGES / name).write_text(text, "utf-8")
    stored = {file.name: file.read_text("utf-8") for file in PAGES.glob("*.txt")}
    assert sorted(stored) == sorted(pages), "run `make docs`"
    for name, text in pages.items():
        assert stored[name] == text, f"{name} is stale; run `make docs`"


def test_every_option_says_what_it_does(commands: dict[tuple[str, ...], click.Command]) -> None:
    silent = [
        f"{' '.join(words)} {option.opts[-1]}"
        for words, command in commands.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.help and not option.hidden
    ]
    assert silent == []


def test_help_fits_the_page(pages: dict[str, str]) -> None:
    wide = [f"{name}: {line}" for name, text in pages.items() for line in text.splitlines() if len(line) > WIDTH]
    assert wide == []
