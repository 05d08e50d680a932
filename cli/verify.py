"""``pool-export verify``: check a bundle on this machine, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..runtime.bundle import open_bundle
from ..runtime.config import RuntimeConfig
from .golden import document, replayed, verdict
from .options import debug_option, declared, json_option
from .output import print_json


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@declared(RuntimeConfig, env=True)
@json_option
@debug_option
def verify_command(bundle: Path, as_json: bool, **options: Any) -> None:
    """Check BUNDLE: file hashes, then every golden text's token ids and outputs on this device.

    `golden` shows the second part case by case.

    \b
    Examples:
      pool-export verify ./bundle
      pool-export verify ./bundle --device cuda --json
    """
    opened = open_bundle(bundle)
    files = opened.verify_hashes()
    engine, result = replayed(opened, options)
    if as_json:
        print_json({"bundle": str(bundle), "files": files, **document(engine, result)})
    else:
        for failure in result.failures:
            click.echo(f"FAILED {failure}")
        click.echo(f"{bundle}: {len(files)} file(s) intact, {verdict(engine, result)}")
    if not result.passed:
        raise click.exceptions.Exit(1)
