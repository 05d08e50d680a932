"""The command group: ``pool-export MODEL`` exports, every other word is a command of its own."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from typing import Any

import click

from .errors import catch_signals, exit_code_for

# Command -> (module in this folder, one-line help). The module is imported when the command is used.
COMMANDS: dict[str, tuple[str, str]] = {
    "export": ("export", "Export a model into a verified bundle (the default command)."),
    "adopt": ("adopt", "Turn an existing ONNX file into a verified bundle."),
    "inspect": ("inspect", "Show what a bundle holds and where each setting came from."),
    "verify": ("verify", "Check a bundle's files, and that its golden vectors agree."),
    "golden": ("golden", "Replay a bundle's golden vectors, case by case."),
    "embed": ("run", "Embed texts with a bundle."),
    "classify": ("run", "Classify texts with a bundle."),
    "score": ("run", "Score a query against documents, or pairs of texts."),
    "reward": ("run", "Reward texts, token by token or step by step."),
    "serve": ("serve", "Serve bundles over HTTP, as OpenAI, vLLM, Cohere and TEI do."),
    "tune": ("tune", "Measure where a bundle runs fastest on this host, and remember it."),
    "engine": ("engine", "Build a TensorRT engine of a bundle's graph."),
    "triton": ("triton", "Write a bundle into a model repository of a Triton server."),
    "doctor": ("doctor", "Tell what this installation can do, and why not more."),
    "zoo": ("zoo", "List, show and check the cards of known models."),
    "demo": ("demo", "Export all-MiniLM-L6-v2 and embed a few sentences."),
}
DEFAULT_COMMAND = "export"


class DefaultGroup(click.Group):
    """A lazy group whose first word may also be the default command's argument."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module that defines a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default command unless a command or a group option comes first."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if args and args[0] not in COMMANDS and args[0] not in own:
            _refuse_typo(args[0], ctx)
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands from the table: ``--help`` imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _refuse_typo(word: str, ctx: click.Context) -> None:
    near = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.75)
    if near and not word.startswith("-") and not Path(word).exists():
        raise click.UsageError(f"{word!r} is neither a command nor a folder; did you mean {near[0]!r}?", ctx)


@click.group(cls=DefaultGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(package_name="pool-export")
def cli() -> None:
    """Export pooling models to ONNX, head included, and run them without torch.

    \b
    Examples:
      pool-export intfloat/e5-small                 export (convert=auto)
      pool-export ./my-model --convert classify -o ./bundle
      pool-export embed ./bundle "some text"
      pool-export score ./bundle "a question" "one answer" "another"
      pool-export inspect ./bundle
    """


def main(args: list[str] | None = None, prog_name: str = "pool-export") -> None:
    """Run the command line and exit: 0 fine, 1 failed, 2 wrong usage, 128 + N by signal N."""
    words = sys.argv[1:] if args is None else args
    catch_signals()
    code: Any
    try:
        code = cli.main(args=words, prog_name=prog_name, standalone_mode=False)
    except BaseException as error:  # noqa: BLE001  (the one place where errors become exit codes)
        code = exit_code_for(error, debug="--debug" in words)
    sys.exit(code if isinstance(code, int) else 0)
