"""The README is true: its Python runs, its commands parse, its make targets exist.

A Python block runs in a fresh namespace, in a folder where `./bundle` is all-MiniLM-L6-v2. A block that
cannot run here carries `<!-- not run: reason -->` on the line above its fence, and is only compiled.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+?) -->\n+)?^```(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELLS = {"console", "bash", "sh", "shell"}


@dataclass(frozen=True)
class Block:
    language: str
    body: str
    line: int
    reason: str | None  # why it is not run

    def __str__(self) -> str:
        return f"line{self.line}"


def blocks(*languages: str) -> list[Block]:
    if not README.is_file():
        return []  # test_readme_has_snippets says so
    text = README.read_text("utf-8")
    return [
        Block(found["language"], found["body"], text.count("\n", 0, found.start("body")), found["reason"])
        for found in FENCE.finditer(text)
        if found["language"] in languages
    ]


def commands_in(block: Block) -> list[list[str]]:
    """Return the commands of a shell block as words: no prompt, output, comment, pipe or redirection."""
    lines = block.body.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found = []
    for line in lines:
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split = True
        for word in [*lexer, "|"]:
            if set(word) <= set("|;&<>"):
                found.append(words)
                words = []
            else:
                words.append(word)
    return [words for words in found if words]


SHELL_COMMANDS = [
    pytest.param(words, id=" ".join(words)[:60]) for block in blocks(*SHELLS) for words in commands_in(block)
]


def test_readme_has_snippets(checkout: Path) -> None:
    assert README.is_file(), "README.md is missing"
    assert blocks("python"), "README.md shows no Python"
    flat = [" ".join(param.values[0]) for param in SHELL_COMMANDS]  # type: ignore[arg-type]
    assert "make demo" in flat
    assert "make test" in flat


@pytest.mark.torch  # makes the MiniLM bundle
@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_block_runs(block: Block, in_tmp_path: Path, request: pytest.FixtureRequest) -> None:
    code = compile(block.body, f"README.md (line {block.line})", "exec")
    if block.reason is None:
        os.symlink(request.getfixturevalue("minilm_bundle"), in_tmp_path / "bundle")
        exec(code, {"__name__": "__readme__"})


@pytest.mark.parametrize("words", [param for param in SHELL_COMMANDS if param.values[0][0] == "make"])  # type: ignore[index]
def test_make_targets_exist(words: list[str], checkout: Path) -> None:
    makefile = (checkout / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", makefile, re.MULTILINE))
    asked = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    assert set(asked) <= targets


def our_arguments(words: list[str]) -> list[str] | None:
    if words[0].endswith("pool-export"):
        return words[1:]
    if words[0].startswith("python") and words[1:3] == ["-m", "pool_export"]:
        return words[3:]
    return None


@pytest.mark.parametrize(
    "words",
    [param for param in SHELL_COMMANDS if our_arguments(param.values[0]) is not None],  # type: ignore[arg-type]
)
def test_commands_parse(words: list[str], command_group: click.Group) -> None:
    """The command exists and knows the options; values are not looked at, so files need not exist."""
    arguments = our_arguments(words) or []
    if arguments in ([], ["--help"], ["--version"]):
        return
    context = command_group.make_context("pool-export", arguments)
    rest = [*context._protected_args, *context.args]
    name, command, rest = command_group.resolve_command(context, rest)
    assert command is not None, f"no command {name!r}"
    if isinstance(command, click.Command) and "--help" not in rest:
        child = click.Context(command, info_name=name, parent=context)
        command.make_parser(child).parse_args(list(rest))
