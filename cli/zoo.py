"""``pool-export zoo``: the model cards, listed, shown, and proven on tiny checkpoints."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from ..models_zoo.card import HAZARDS, ExportStatus, ModelCard
from ..models_zoo.catalog import card as card_of
from ..models_zoo.catalog import cards
from ..poolers.errors import PoolExportError
from ..poolers.spec import TASKS
from .errors import naming_extra
from .options import debug_option, json_option
from .output import StepReporter, print_json, print_table, print_wrapped, terminal_width

# Task -> the call that answers it, for the snippet.
_CALLS = {
    "embed": 'llm.embed("some text")',
    "token_embed": 'llm.encode("some text", pooling_task="token_embed")',
    "score": 'llm.score("a question", ["one answer", "another"])',
    "classify": 'llm.classify("some text")',
    "token_classify": 'llm.encode("some text", pooling_task="token_classify")',
    "reward": 'llm.reward("some text")',
    "encode": 'llm.encode("some text")',
}

_COLUMNS = ("model", "task", "pooling", "size", "export", "tokens", "params", "licence")
_NARROW = 5  # of them, on a terminal of fewer columns than
_WIDE = 120
_EXPORTS: dict[ExportStatus, str] = {"native": "yes", "remote-code": "own code", "unsupported": "no"}


@click.group("zoo", no_args_is_help=False)
def zoo_command() -> None:
    """Known models: what their files do not say, filled in at export.

    \b
    Examples:
      pool-export zoo list --task score
      pool-export zoo show BAAI/bge-m3
      pool-export zoo check
    """


@zoo_command.command("list")
@click.option("--task", type=click.Choice(TASKS), help="Only models whose main task it is.")
@json_option
@debug_option
def list_command(task: str | None, as_json: bool) -> None:
    """List the model cards.

    \b
    Examples:
      pool-export zoo list
      pool-export zoo list --task embed --json
    """
    found = [one for one in cards().values() if task in (None, one.task)]
    if as_json:
        print_json([_document(one) for one in found])
        return
    shown = _COLUMNS if terminal_width() >= _WIDE else _COLUMNS[:_NARROW]
    print_table("", shown, (_row(one)[: len(shown)] for one in found), folds="model")
    click.echo(f"{len(found)} models; pool-export zoo show MODEL tells more")


@zoo_command.command("show")
@click.argument("model")
@json_option
@debug_option
def show_command(model: str, as_json: bool) -> None:
    """Show the card of MODEL, the command that exports it, and how to use it from Python.

    \b
    Examples:
      pool-export zoo show intfloat/e5-small
    """
    found = card_of(model)
    if as_json:
        print_json({**_document(found), "command": export_command(found), "python": snippet(found)})
        return
    print_table(found.id, ("field", "value"), _fields(found))
    for name in found.hazards:
        print_wrapped(f"{name}: {HAZARDS[name]}")
    if found.export == "unsupported":
        print_wrapped(f"This model cannot be exported: {found.export_reason}.")
        return
    click.echo(f"\nExport:\n\n    {export_command(found)}\n\nPython:\n")
    for line in snippet(found).splitlines():
        click.echo(f"    {line}".rstrip())


@zoo_command.command("check")
@click.argument("models", nargs=-1)
@click.option("--export", "exports", is_flag=True, help="Also export one tiny checkpoint a group, through the gate.")
@json_option
@debug_option
def check_command(models: tuple[str, ...], exports: bool, as_json: bool) -> None:
    """Check the cards (all, or MODELS) and prove each on a tiny checkpoint of the same config class.

    Nothing is downloaded. With --export a group of cards that make the same graph is exported once and compared with
    the reference.

    \b
    Examples:
      pool-export zoo check
      pool-export zoo check BAAI/bge-m3 Qwen/Qwen3-Embedding-0.6B --export
    """
    chosen = [card_of(name) for name in models] or list(cards().values())
    started = time.monotonic()
    rows = _check(chosen, exports)
    seconds = time.monotonic() - started
    failed = sorted({name for row in rows for name in row["failed"]})
    if as_json:
        print_json({"passed": not failed, "cards": len(chosen), "groups": rows, "seconds": round(seconds, 1)})
    else:
        _show_check(rows, failed, len(chosen), seconds)
    if failed:
        raise click.exceptions.Exit(1)


def export_command(card: ModelCard) -> str:
    """Return the command that exports a card's model."""
    words = ["pool-export", card.id]
    return shlex.join([*words, "--trust-remote-code"] if card.export == "remote-code" else words)


def snippet(card: ModelCard) -> str:
    """Return lines of Python that export a card's model and ask it once."""
    trust = ", trust_remote_code=True" if card.export == "remote-code" else ""
    return f'from pool_export import LLM\n\nllm = LLM("{card.id}"{trust})\nprint({_CALLS[card.task]})'


def _check(chosen: list[ModelCard], exports: bool) -> list[dict[str, Any]]:
    """Prove the cards and return one row a group."""
    reporter = StepReporter()
    with reporter.step("Starting torch and transformers"), naming_extra("export", "torch"):
        from ..export.proof import prove, prove_export
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="pool-export-zoo-") as name:
        folder = Path(name)
        with reporter.step("Resolving on tiny checkpoints", len(chosen)) as advance:
            for proof in prove(chosen, folder):
                row = rows.setdefault(proof.group or proof.skipped, _new_row(proof.group, proof.skipped))
                row["cards"].append(proof.card)
                row["problems"] += [f"{proof.card}: {problem}" for problem in proof.problems]
                row["failed"] += [proof.card] if proof.problems else []
                if advance:
                    advance(1)
        groups = [row for row in rows.values() if not row["skipped"] and len(row["failed"]) < len(row["cards"])]
        if exports and groups:
            with reporter.step("Exporting one of each group", len(groups)) as advance:
                for row in groups:
                    _export(row, folder, prove_export)
                    if advance:
                        advance(1)
    return sorted(rows.values(), key=lambda row: (row["skipped"], row["group"]))


def _new_row(group: str, skipped: str) -> dict[str, Any]:
    return {"group": group, "cards": [], "skipped": skipped, "failed": [], "problems": [], "parity": None}


def _export(row: dict[str, Any], folder: Path, prove_export: Any) -> None:
    import contextlib

    name = next(one for one in row["cards"] if one not in row["failed"])
    try:
        with contextlib.redirect_stdout(sys.stderr):
            report = prove_export(card_of(name), folder)
    except PoolExportError as error:
        row["failed"].append(name)
        row["problems"].append(f"{name}: its tiny export failed: {error}")
        return
    figures = [figure for case in report["cases"].values() for figure in case.values()]
    row["parity"] = {
        "card": name,
        "samples": report["samples"],
        "max_abs": max(figure["max_abs"] for figure in figures),
        "min_cosine": min(figure["min_cosine"] for figure in figures),
    }


def _show_check(rows: list[dict[str, Any]], failed: list[str], count: int, seconds: float) -> None:
    proven = [row for row in rows if not row["skipped"]]
    print_table("", ("group", "cards", "result"), ((row["group"], len(row["cards"]), _result(row)) for row in proven))
    for row in rows:
        for problem in row["problems"]:
            click.echo(f"FAILED {problem}")
    skipped = sum(len(row["cards"]) for row in rows if row["skipped"])
    verdict = f"{len(failed)} FAILED" if failed else "all pass"
    click.echo(
        f"{count} cards: {count - skipped} proven on {len(proven)} kinds of tiny checkpoint, {skipped} that need their "
        f"own code or cannot be exported; {verdict}, {seconds:.0f} s"
    )


def _result(row: dict[str, Any]) -> str:
    if row["failed"]:
        return f"FAILED: {', '.join(row['failed'])}"
    return f"exported, max-abs {row['parity']['max_abs']:.1e}" if row["parity"] else "resolved"


def _row(card: ModelCard) -> tuple[object, ...]:
    return (
        card.id,
        card.task,
        card.pooling_type or "",
        card.embedding_size or (f"{card.num_labels} label{'s' * (card.num_labels > 1)}" if card.num_labels else ""),
        _EXPORTS[card.export],
        card.max_length,
        f"{card.parameters:g} M" if card.parameters else "",
        card.licence,
    )


def _document(card: ModelCard) -> dict[str, Any]:
    """The card as JSON knows it."""
    document = {item.name: getattr(card, item.name) for item in dataclasses.fields(card)}
    for name in ("prompts", "hf_overrides", "pooler_config"):
        document[name] = dict(document[name])
    return document


def _fields(card: ModelCard) -> list[tuple[str, object]]:
    """Rows of a card, empty fields left out."""
    rows: list[tuple[str, object]] = []
    for name, value in _document(card).items():
        if name == "id" or value in (None, "", (), {}):
            continue
        if name == "package":
            value = f"{value.name} ({value.folder})"
        if isinstance(value, dict):
            rows += [(f"{name}.{key}", repr(text)) for key, text in value.items()]
        else:
            rows.append((name, ", ".join(map(str, value)) if isinstance(value, tuple) else value))
    return rows
