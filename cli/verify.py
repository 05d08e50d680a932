"""``pool-export verify``: check a bundle on this machine, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..runtime.bundle import open_bundle
from ..runtime.config import RuntimeConfig
from .options import debug_option, declared, json_option
from .output import print_json


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@declared(RuntimeConfig, env=True)
@json_option
@debug_option
def verify_command(bundle: Path, as_json: bool, **options: Any) -> None:
    """Check BUNDLE: file hashes, then every golden text's token ids and outputs on this device.

    \b
    Examples:
      pool-export verify ./bundle
      pool-export verify ./bundle --device cuda --json
    """
    from ..runtime.engine import Engine
    from ..runtime.golden import replay
    from ..runtime.options import from_env

    opened = open_bundle(bundle)
    files = opened.verify_hashes()
    engine = Engine(opened, from_env(RuntimeConfig, **options))
    result = replay(engine)
    if as_json:
        print_json(
            {
                "bundle": str(bundle),
                "device": engine.session.device,
                "precision": engine.session.precision,
                "files": files,
                "cases": result.cases,
                "max_abs": result.max_abs,
                "min_cosine": result.min_cosine,
                "failures": result.failures,
                "passed": result.passed,
            }
        )
    else:
        for failure in result.failures:
            click.echo(f"FAILED {failure}")
        verdict = "agrees" if result.passed else "DISAGREES"
        click.echo(
            f"{bundle}: {len(files)} file(s) intact, {verdict} with {result.cases} golden cases on "
            f"{engine.session.device} (max-abs {result.max_abs:.1e}, min cosine {result.min_cosine:.7f})"
        )
    if not result.passed:
        raise click.exceptions.Exit(1)
