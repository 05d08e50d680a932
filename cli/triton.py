"""``pool-export triton``: a bundle as a model of a Triton Inference Server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..poolers.errors import PoolExportError
from ..runtime.bundle import open_bundle
from ..runtime.triton import TritonOptions
from .options import debug_option, declared, given, json_option
from .output import print_json


@click.command("triton")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "repository",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Model repository: the folder that tritonserver is started with.",
)
@declared(TritonOptions, env=False)
@json_option
@debug_option
def triton_command(bundle: Path, repository: Path, as_json: bool, **options: Any) -> None:
    """Write BUNDLE into a model repository of a Triton Inference Server, for its onnxruntime backend.

    Tokenizing is left to the client. An image-text bundle becomes two models, NAME and NAME_image.

    \b
    Examples:
      pool-export triton ./bundle -o ./models
      pool-export triton ./bundle -o ./models --name minilm --device gpu --max-batch-size 128
    """
    from ..runtime.triton import write_triton

    try:
        chosen = TritonOptions(**given(options))
    except PoolExportError as error:
        raise click.UsageError(str(error)) from error
    folders = write_triton(open_bundle(bundle), repository, chosen)
    if as_json:
        print_json({"bundle": str(bundle), "repository": str(repository), "models": [str(item) for item in folders]})
        return
    for folder in folders:
        click.echo(f"{folder}: {folder.name}, for tritonserver --model-repository {repository}")
