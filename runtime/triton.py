"""A bundle as a model of a Triton Inference Server: ``config.pbtxt`` for its onnxruntime backend, and the graph.

Triton finds a model at ``REPOSITORY/NAME/config.pbtxt`` and its graph at ``REPOSITORY/NAME/1/``. An image-text
bundle becomes two models. Tokenizing stays with the client; so does all that the graph contract leaves to the host.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .bundle import Bundle
from .errors import BundleError, InputError
from .manifest import GraphInfo, TensorInfo, default_precision, existing_precision
from .options import option

CONFIG_NAME = "config.pbtxt"
VERSION_FOLDER = "1"
DEVICES = ("cpu", "gpu")

_TEMPLATE = "triton.pbtxt.jinja"
_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}
_MARK = "# Made by pool-export"
_BATCH_AXIS = "batch_size"


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How Triton is to run the model. Each declared option is also a command-line flag."""

    name: str | None = option(None, metavar="NAME", help="Name of the model.  [default: the source's]")
    precision: str = option("auto", choices=("auto", "fp32", "fp16", "bf16", "int8"), help="Which graph of the bundle.")
    device: str = option("cpu", choices=DEVICES, help="Where its instances run.")
    instances: int = option(1, parse=int, metavar="N", help="Copies of the session; of each GPU with --device gpu.")
    max_batch_size: int = option(64, parse=int, metavar="N", help="Most rows that Triton puts into one run.")
    queue_delay_us: int = option(
        1000, parse=int, metavar="N", help="How long a request waits for others, in microseconds."
    )
    copy: bool = option(False, help="Copy the graph; else it is linked where the file system can (a hard link).")
    force: bool = option(False, help="Replace the model where the repository has one that was made like this.")

    def __post_init__(self) -> None:
        """Refuse impossible options.

        Raises:
            InputError: the message names the option.
        """
        if self.device not in DEVICES:
            raise InputError(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")
        for name, least in (("instances", 1), ("max_batch_size", 1), ("queue_delay_us", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise InputError(f"name must be letters, digits, and . - _ after the first, got {self.name!r}")


def write_triton(bundle: Bundle, repository: Path, options: TritonOptions | None = None) -> list[Path]:
    """Write a bundle's models into a model repository, each one whole or not at all.

    Args:
        bundle: the opened bundle.
        repository: the folder that Triton is started with; it may hold other models.
        options: how to run the model.

    Returns:
        The models' folders.

    Raises:
        BundleError: the bundle has no graph of the precision asked for.
        InputError: the repository has something else under that name, or the graph has inputs without a batch axis.
    """
    chosen = options or TritonOptions()
    name = chosen.name or model_name(bundle)
    graphs, image = bundle.manifest.graphs, bundle.manifest.image
    models = [(name, graphs[existing_precision(graphs, chosen.precision, str(bundle.folder))])]
    if image is not None:
        models.append((f"{name}_image", image.graphs[default_precision(image.graphs)]))
    texts = {item: triton_config(item, graph, bundle, chosen) for item, graph in models}
    for item, _ in models:
        _check_target(repository / item, chosen.force)
    return [_write(bundle, repository / item, graph, texts[item], chosen) for item, graph in models]


def model_name(bundle: Bundle) -> str:
    """A name out of the source's id: its last part, with what Triton would not take replaced."""
    last = bundle.manifest.source.id.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "_", last).lstrip(".-") or "model"


def triton_config(name: str, graph: GraphInfo, bundle: Bundle, options: TritonOptions) -> str:
    """Render ``config.pbtxt`` for one graph.

    Raises:
        InputError: an input or output that Triton's batching cannot have.
    """
    loader = PackageLoader(__name__.rpartition(".")[0], "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["quoted"] = _quoted
    source = bundle.manifest.source
    return environment.get_template(_TEMPLATE).render(
        mark=f"{_MARK} {metadata.version('pool-export')} from {_one_line(source.id)}",
        name=name,
        file=Path(graph.files[0].path).name,
        inputs=[_tensor(item) for item in graph.inputs],
        outputs=[_tensor(item) for item in graph.outputs],
        options=options,
    )


def _quoted(text: str) -> str:
    """A string of protobuf's text format."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _tensor(item: TensorInfo) -> dict[str, Any]:
    """Name, type, and the sizes behind the batch axis; an axis with a name is -1."""
    if not item.shape or item.shape[0] != _BATCH_AXIS or item.dtype not in _TYPES:
        raise InputError(
            f"{item.name} is {item.dtype} {list(item.shape)}; Triton's batching needs {_BATCH_AXIS} first, and one of "
            f"{', '.join(_TYPES)}"
        )
    dims = [size if isinstance(size, int) else -1 for size in item.shape[1:]]
    return {"name": item.name, "type": _TYPES[item.dtype], "dims": dims}


def _check_target(target: Path, force: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    config = target / CONFIG_NAME
    is_ours = config.is_file() and config.read_text(encoding="utf-8", errors="replace").startswith(_MARK)
    if not is_ours:
        raise InputError(
            f"{target} exists and was not made by pool-export; it is never replaced, choose another --name"
        )
    if not force:
        raise InputError(f"{target} already holds a model; pass --force to replace it, or choose another --name")


def _write(bundle: Bundle, target: Path, graph: GraphInfo, config: str, options: TritonOptions) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that a server that polls the repository does not take it for a model.
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        staging.chmod(0o755)
        (staging / CONFIG_NAME).write_text(config, encoding="utf-8")
        (staging / VERSION_FOLDER).mkdir()
        for file in graph.files:  # the graph names its external data by file name, so both keep theirs
            _place(bundle.path(file.path).resolve(), staging / VERSION_FOLDER / Path(file.path).name, options.copy)
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    except OSError as error:
        raise BundleError(f"writing {target} failed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _place(source: Path, target: Path, copy: bool) -> None:
    """Link a file, or copy it where asked to or where a link is not possible (another file system)."""
    if not copy:
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    shutil.copyfile(source, target)
