"""``pool-export golden``: replay a bundle's golden vectors on this machine, case by case, without torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.bundle import Bundle, open_bundle
from ..runtime.config import RuntimeConfig
from .options import debug_option, declared, json_option
from .output import print_json, print_table

if TYPE_CHECKING:
    from ..runtime.engine import Engine
    from ..runtime.replay import CaseResult, Replay

_SHOWN = 36


@click.command("golden")
@click.argument("bundle", type=click.Path(path_type=Path))
@declared(RuntimeConfig, env=True)
@json_option
@debug_option
def golden_command(bundle: Path, as_json: bool, **options: Any) -> None:
    """Replay BUNDLE's golden texts on this device: token ids and outputs, case by case.

    What an answer must reach is stated in golden.json, by precision. `verify` replays them too, after the hashes.

    \b
    Examples:
      pool-export golden ./bundle
      pool-export golden ./bundle --precision int8 --json
    """
    engine, result = replayed(open_bundle(bundle), options)
    if as_json:
        cases = [
            {
                "case": case.name,
                "text": case.text,
                "pair": case.pair,
                "tokens": case.tokens,
                "outputs": case.outputs,
                "failures": case.failures,
            }
            for case in result.results
        ]
        tolerance = dataclasses.asdict(result.tolerance)
        print_json({"bundle": str(bundle), **document(engine, result), "tolerance": tolerance, "cases": cases})
    else:
        print_table("", ("case", "text", "tokens", "output", "max-abs", "cosine", ""), _rows(result))
        for failure in result.failures:
            click.echo(f"FAILED {failure}")
        click.echo(f"{bundle}: {verdict(engine, result)}")
    if not result.passed:
        raise click.exceptions.Exit(1)


def replayed(bundle: Bundle, options: dict[str, Any]) -> tuple[Engine, Replay]:
    """Replay the golden file with the options of the command line and the environment.

    Raises:
        BundleError, ProviderError, RuntimeFailure: the bundle cannot be opened or run.
    """
    from ..runtime.engine import Engine
    from ..runtime.options import from_env
    from ..runtime.replay import replay

    engine = Engine(bundle, from_env(RuntimeConfig, **options))
    return engine, replay(engine)


def document(engine: Engine, result: Replay) -> dict[str, Any]:
    """What ``--json`` says of a whole replay."""
    return {
        "device": engine.session.device,
        "precision": engine.session.precision,
        "cases": result.cases,
        "max_abs": result.max_abs,
        "min_cosine": result.min_cosine,
        "failures": result.failures,
        "passed": result.passed,
    }


def verdict(engine: Engine, result: Replay) -> str:
    """One clause for a person."""
    return (
        f"{'agrees' if result.passed else 'DISAGREES'} with {result.cases} golden cases on {engine.session.device} "
        f"in {engine.session.precision} (max-abs {result.max_abs:.1e}, min cosine {result.min_cosine:.7f})"
    )


def _rows(result: Replay) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for case in result.results:
        heading: tuple[object, ...] = (case.name, _shown(case), case.tokens or "")
        word = "FAILED" if case.failures else "ok"
        for name, figures in case.outputs.items():
            rows.append((*heading, name, f"{figures.max_abs:.1e}", f"{figures.cosine:.7f}", word))
            heading, word = ("", "", ""), ""
        if not case.outputs:
            rows.append((*heading, "", "", "", word))
    return rows


def _shown(case: CaseResult) -> str:
    """The beginning of a text, its control characters spelled out."""
    text = case.text if case.pair is None else f"{case.text} | {case.pair}"
    text = repr(text[:_SHOWN])[1:-1]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
