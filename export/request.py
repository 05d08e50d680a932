"""What the user asked to export: one frozen record, checked before any work begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ..models_zoo.templates import SCORE_TEMPLATES, find_template
from ..poolers.errors import ConfigError
from ..poolers.pooler_config import PoolerConfig
from ..poolers.spec import CONVERTS, RUNNERS
from ..runtime.errors import InputError
from ..runtime.manifest import Precision
from ..runtime.options import option
from ..runtime.templates import ScoreTemplate
from .engines.options import NEWEST_OPSET, EngineOptions

MIN_OPSET, MAX_OPSET = 18, 23
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Read a comma-separated list of precisions; fp32 is always among them.

    Raises:
        ValueError: a name that is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in PRECISIONS]:
        raise ValueError(f"expected a list of {', '.join(PRECISIONS)}, got {unknown[0]!r}")
    return tuple(name for name in PRECISIONS if name == "fp32" or name in names)


def parse_json_object(text: str) -> dict[str, Any]:
    """Read a JSON object from the command line.

    Raises:
        ValueError: not JSON, or not an object.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected a JSON object, {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    return value


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Options of an export. Each declared option is also a command-line flag.

    Attributes:
        model: checkpoint folder or Hub id.
        output: bundle folder to write; ``None`` names it after the model, in the working folder.
        engine: the TensorRT engines to build beside the graphs; without a target, none.
    """

    model: str
    output: Path | None = None
    engine: EngineOptions = EngineOptions()  # noqa: RUF009  (frozen)
    convert: str = option("auto", choices=CONVERTS, help="Adapter: what the pooling head should answer.")
    runner: str = option("auto", choices=RUNNERS, help="vLLM's runner; pooling treats any model as a pooling model.")
    pooler_config: Mapping[str, Any] | None = option(
        None,
        parse=parse_json_object,
        metavar="JSON",
        help='Override the head, for example \'{"pooling_type": "LAST"}\'.',
    )
    hf_overrides: Mapping[str, Any] | None = option(
        None, parse=parse_json_object, metavar="JSON", help="Override keys of the model's config.json."
    )
    revision: str | None = option(None, metavar="REV", help="Hub revision: branch, tag or commit.")
    score_template: str | None = option(
        None,
        metavar="NAME|FILE",
        help="Rerankers made from a language model: how a query and a document become one text. A jinja file, or "
        f"one of {', '.join(SCORE_TEMPLATES)}.",
    )
    opset: int = option(20, parse=int, metavar="N", help=f"ONNX opset, {MIN_OPSET} to {MAX_OPSET}.")
    precision: tuple[Precision, ...] = option(
        ("fp32",),
        parse=parse_precisions,
        metavar="LIST",
        help="Graphs to write, such as fp32,int8: fp32 is always there, int8 is for CPUs, fp16 and bf16 for GPUs.",
    )
    max_model_len: int | None = option(
        None, parse=int, metavar="N", help="Longest input in tokens (lower than the model's)."
    )
    card: str | None = option(
        None,
        metavar="ID",
        help="Model card that fills in what the files do not say; none for no card.  [default: MODEL]",
    )
    text_input: bool = option(
        False,
        help="Also write onnx/model_text.onnx, which takes a string; refused where its tokenizer is not exact.",
    )
    trust_remote_code: bool = option(False, help="Run the checkpoint's own Python code while exporting.")
    force: bool = option(False, help="Replace an existing bundle, once the new one is complete.")
    allow_mismatch: bool = option(False, help="Write the bundle even if it misses the parity bars.")

    def __post_init__(self) -> None:
        """Refuse conflicting or impossible options.

        Raises:
            ConfigError: the message names the option.
        """
        for name, valid in (("convert", CONVERTS), ("runner", RUNNERS)):
            if getattr(self, name) not in valid:
                raise ConfigError(f"{name} must be one of {', '.join(valid)}, got {getattr(self, name)!r}")
        if not MIN_OPSET <= self.opset <= MAX_OPSET:
            raise ConfigError(f"opset must be in [{MIN_OPSET}, {MAX_OPSET}], got {self.opset}")
        if self.engine.target is not None and self.opset > NEWEST_OPSET:
            raise ConfigError(f"--target needs --opset {NEWEST_OPSET} or lower, got {self.opset}")
        try:
            object.__setattr__(self, "precision", parse_precisions(",".join(self.precision)))
        except ValueError as error:
            raise ConfigError(f"precision: {error}") from error
        if self.max_model_len is not None and self.max_model_len < 1:
            raise ConfigError(f"max_model_len must be at least 1, got {self.max_model_len}")
        if self.revision and Path(self.model).expanduser().is_dir():
            raise ConfigError(f"--revision applies to Hub ids, {self.model} is a folder; drop one of them")
        pooler = self.user_pooler()
        pooler.resolved_pooling_type()
        pooler.resolved_activation()
        self.score_template_text()

    def user_pooler(self) -> PoolerConfig:
        """The parsed ``pooler_config``.

        Raises:
            ConfigError: unknown key or wrong type.
        """
        return PoolerConfig.parse(self.pooler_config)

    def score_template_text(self) -> str | None:
        """The score template's own text, after it was rendered once.

        Raises:
            ConfigError: no such template, or one that fails or leaves out the query or the document.
        """
        if self.score_template is None:
            return None
        text = find_template(self.score_template)
        try:
            ScoreTemplate(text)
        except InputError as error:
            raise ConfigError(f"score_template {self.score_template}: {error}") from error
        return text
