"""``pool-export adopt FOLDER``: an existing ONNX export becomes a bundle."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..export.request import ExportRequest
from ..poolers.errors import ConfigError
from .errors import naming_extra
from .export import show_result, summary
from .options import debug_option, declared, given, json_option
from .output import StepReporter, note, print_json

if TYPE_CHECKING:
    from ..export.reporting import ExportResult

# A graph that exists keeps its opset, no code of the checkpoint is run, and there is no transformers to compare with.
_TRACING = frozenset({"opset", "trust_remote_code", "text_input"})


@click.command("adopt")
@click.argument("folder")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Bundle folder to write.  [default: NAME-bundle]")
@click.option("--graph", metavar="PATH", help="The ONNX file inside FOLDER, where several could be meant.")
@declared(ExportRequest, env=False, without=_TRACING)
@json_option
@debug_option
def adopt_command(folder: str, output: Path | None, graph: str | None, as_json: bool, **options: Any) -> None:
    """Adopt the ONNX export in FOLDER (or of a Hub id) into a bundle, without torch.

    FOLDER is what optimum-cli or transformers.js repositories hold: onnx/model.onnx (or model.onnx,
    model_optimized.onnx) with tokenizer.json, config.json and sentence-transformers' files. The pooling head is put
    into the graph, and the result is compared with the original graph. model_fp16.onnx, model_int8.onnx and
    model_quantized.onnx beside it are taken along where they are close enough.

    \b
    Examples:
      pool-export adopt ./my-onnx-model
      pool-export adopt ./my-onnx-model --graph onnx/model_O2.onnx -o ./bundle
      pool-export adopt Xenova/all-MiniLM-L6-v2 --pooler-config '{"pooling_type": "MEAN"}'
    """
    try:
        request = ExportRequest(model=folder, output=output, **given(options))
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    started = time.monotonic()
    result = run_adopt(request, graph)
    seconds = time.monotonic() - started
    if as_json:
        print_json({**summary(result, seconds), "notes": result.notes})
        return
    for line in result.notes:
        note(line)
    show_result(result, seconds)


def run_adopt(request: ExportRequest, graph: str | None) -> ExportResult:
    """Adopt with progress on stderr; the libraries are imported here."""
    with naming_extra("adopt", "onnx"):
        from ..export.adopt.pipeline import adopt_model
    with contextlib.redirect_stdout(sys.stderr):
        return adopt_model(request, graph, StepReporter())
