"""What people read: tables that keep their words, progress that stays out of stdout."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_export.cli.output import StepReporter, _elided, print_table

Terminal = Callable[..., str]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def table(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, columns: int, rows: list[tuple[str, str]]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", stream)
    print_table("Title", ("name", "text"), rows)
    return stream.getvalue().split("\n")


def test_a_table_on_a_pipe_is_never_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "word " * 60 + "end"
    assert table(monkeypatch, io.StringIO(), 40, [("a", long), ("bb", "short")]) == [
        "Title", "", "name   text", "─" * (7 + len(long)), f"a      {long}", "bb     short", "", "",
    ]  # fmt: skip


def test_a_table_on_a_terminal_folds_its_widest_column_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = table(monkeypatch, Tty(), 30, [("a name of one", "several words that do not fit in here")])
    assert lines[4:-2] == [
        "a name of one   several words",
        "                that do not",
        "                fit in here",
    ]


@pytest.mark.parametrize("stream", [io.StringIO, Tty])
def test_cells_are_plain_text_without_colour_or_trailing_spaces(
    stream: Callable[[], io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = table(monkeypatch, stream(), 80, [("[bold]x[/bold]", ""), (":smile:", "3.14 True 'y'")])
    assert lines[4] == "[bold]x[/bold]"
    assert lines[5] == ":smile:          3.14 True 'y'"
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("title", "room", "shown"),
    [
        ("Reading me", 10, "Reading me"),
        ("Reading /a/long/path/to/the/model", 20, "Readin…/to/the/model"),
        ("Reading /a/long/path/to/the/model", 1, "R…"),
    ],
)
def test_a_long_step_title_keeps_both_ends(title: str, room: int, shown: str) -> None:
    assert _elided(title, room)[: max(room, 2)] == shown


def test_steps_are_lines_where_nobody_watches_and_long_paths_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    reporter, path = StepReporter(), "/some/where" * 20
    with reporter.step(f"Reading {path}") as advance:
        assert advance is None
    with reporter.step("Verifying [1/2]", 2) as advance:
        assert advance is None
    assert capsys.readouterr() == ("", f"Reading {path} …\nVerifying [1/2] …\n")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", ["inspect", "verify", "embed", "score", "doctor"])
def test_a_screen_breaks_no_word(command: str, columns: int, minilm_bundle: Path, terminal: Terminal) -> None:
    words: dict[str, tuple[object, ...]] = {
        "inspect": (minilm_bundle,),
        "verify": (minilm_bundle, "--json"),
        "embed": (minilm_bundle, "a text", "another text that goes on and on and on until it has to be cut"),
        "score": (minilm_bundle, "a question", "an answer", "another text that goes on and on until " * 4),
        "doctor": (),
    }
    lines = terminal(command, *words[command], columns=columns).split("\n")
    paths = {line for line in lines if str(minilm_bundle) in line or line.startswith("cache: ")}
    assert max(len(line) for line in lines if line not in paths) <= columns
    rows = [line for line in lines if line.startswith(("fp32", "in ", "out ", "a text", "another", "export "))]
    assert all(line == line.rstrip() for line in rows)
    if command in ("embed", "score"):
        assert len(lines) == 6, "a heading, a rule, a line a text, an empty line"


def test_the_progress_of_an_export_on_a_terminal_names_each_step_once(
    tiny_folder: Callable[..., Path], terminal: Terminal
) -> None:
    lines = terminal("export", tiny_folder("bert"), "-o", "out", redirect=">export.txt").split("\n")
    marks = [line.split(maxsplit=2) for line in lines if line]
    assert [mark for mark, _, _ in marks] == ["✓"] * 6
    titles = [title for _, _, title in marks]
    assert titles[0] == "Starting torch and transformers"
    assert titles[1].startswith("Reading ")
    assert titles[2:5] == ["Loading weights", "Tracing the graph", "Writing the bundle"]
    assert titles[5].startswith("Verifying against the reference ━")
    assert max(map(len, lines)) <= 80
