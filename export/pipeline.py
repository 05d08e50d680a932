"""The export, told in order: find, resolve, load, adapt, trace, write, verify, publish."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import onnx_ir as ir
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..poolers.limits import max_length
from ..poolers.resolve import resolve
from ..poolers.spec import PoolingSpec
from ..runtime.bundle import open_bundle
from ..runtime.config import RuntimeConfig
from ..runtime.engine import Engine
from ..runtime.manifest import FORMAT, MANIFEST_NAME, Manifest, SourceInfo, TokenizerPolicy, encode_manifest
from .adapters import adapt
from .card import write_card
from .errors import ExportError
from .load import load_model, load_tokenizer
from .reference import Reference
from .request import ExportRequest
from .samples import parity_samples
from .sidecars import GOLDEN_TOKENS, write_config, write_golden, write_sentence_transformers, write_tokenizer
from .source import Source, open_source
from .tokenizer_check import check_tokenizer
from .trace import annotate, trace
from .verify import require_parity, verify
from .vision import add_image_tower, check_towers, family_of, text_tower
from .vision_check import reference_for, verify_images
from .write import check_target, staged, write_graph

_PRODUCERS = ("pool-export", "torch", "transformers", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "tokenizers")


class Reporter(Protocol):
    """Shows progress; the command line supplies one, a library caller none."""

    def step(self, title: str, total: int | None = None, *, animated: bool = True) -> AbstractContextManager[Any]:
        """Enter a step; the yielded callable (or ``None``) advances it.

        Without ``animated`` the step draws nothing that moves: something else in it has bars of its own.
        """


class SilentReporter:
    """A reporter that shows nothing."""

    @contextlib.contextmanager
    def step(self, title: str, total: int | None = None, *, animated: bool = True) -> Iterator[None]:
        """Do nothing."""
        yield None


@dataclass(frozen=True)
class ExportResult:
    """A written bundle."""

    folder: Path
    manifest: Manifest
    report: dict[str, Any]


def export_model(request: ExportRequest, reporter: Reporter | None = None) -> ExportResult:
    """Export a model into a verified bundle.

    Args:
        request: what to export.
        reporter: shows the steps.

    Returns:
        The bundle's folder, manifest and parity report.

    Raises:
        PoolExportError: any of its leaves; nothing is written then.
    """
    if request.output is not None:
        check_target(request.output, request.force)
    show = reporter or SilentReporter()
    # A Hub id is downloaded here, under huggingface_hub's own bars.
    with show.step(f"Reading {request.model}", animated=Path(request.model).expanduser().is_dir()):
        source = open_source(request)
    return _export(source, request, request.output or default_output(source), show)


def default_output(source: Source) -> Path:
    """Bundle folder when none was named: the model's own name, in the working folder."""
    return Path.cwd() / (source.id.rsplit("/", 1)[-1] + "-bundle")


def _export(source: Source, request: ExportRequest, target: Path, show: Reporter) -> ExportResult:
    check_target(target, request.force)
    spec = resolve(source.files, convert=request.convert, runner=request.runner, pooler_config=request.user_pooler())  # type: ignore[arg-type]
    limit = max_length(source.files, request.max_model_len)
    with show.step("Loading weights"):
        tokenizer = load_tokenizer(source, request)
        model = load_model(source, request, spec)
    check_towers(source, tokenizer, model, limit)
    with show.step("Tracing the graph"):
        program = trace(adapt(source, model, spec), max_length=limit, opset=request.opset)
    policy = _tokenizer_policy(source, tokenizer, model, limit)
    with staged(target, request.force) as folder:
        with show.step("Writing the bundle"):
            write_tokenizer(folder, source, tokenizer, limit)
            write_config(folder, source)
            write_sentence_transformers(folder, source, spec, policy)
            manifest = _write_graph(folder, source, spec, policy, program)
            manifest = add_image_tower(folder, source, model, manifest, request.opset, program.metadata_props)
            _write_manifest(folder, manifest)
        manifest, report = _verify(folder, manifest, reference_for(source, model, spec), tokenizer, request, show)
        write_card(folder, manifest)
    return ExportResult(target, manifest, report)


def _write_graph(
    folder: Path, source: Source, spec: PoolingSpec, policy: TokenizerPolicy, program: ir.Model
) -> Manifest:
    info = SourceInfo(
        id=source.id,
        architecture=source.files.architecture,
        model_type=source.files.model_type,
        revision=source.revision,
        licence=source.licence,
    )
    annotate(program, _metadata(info, spec, policy))
    manifest = Manifest(
        format=FORMAT,
        source=info,
        tasks=spec.tasks,
        pooling=spec,
        tokenizer=policy,
        graphs={"fp32": write_graph(program, folder)},
        producer=_producers(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        similarity=str(source.files.st_config.get("similarity_fn_name") or "cosine"),
    )
    return manifest


def _verify(
    folder: Path,
    manifest: Manifest,
    reference: Reference,
    tokenizer: PreTrainedTokenizerBase,
    request: ExportRequest,
    show: Reporter,
) -> tuple[Manifest, dict[str, Any]]:
    engine = Engine(open_bundle(folder), RuntimeConfig(device="cpu", precision="fp32"))
    samples = parity_samples(engine.tokenizer, manifest.pooling)
    check_tokenizer(tokenizer, engine.tokenizer, samples)
    with show.step("Verifying against the reference", len(samples)) as advance:
        report, expected = verify(reference, engine, samples, advance)
    if not request.allow_mismatch:
        require_parity(report)
    policy = manifest.tokenizer
    longest = policy.max_length if policy.pad_to_max_length else GOLDEN_TOKENS
    if not write_golden(folder, manifest.source.id, samples, expected, longest):
        raise ExportError("no sample text was short enough for golden.json")
    graph = dataclasses.replace(manifest.graphs["fp32"], parity=report)
    manifest = dataclasses.replace(manifest, graphs={"fp32": graph})
    manifest = verify_images(folder, manifest, reference, engine, allow_mismatch=request.allow_mismatch)
    _write_manifest(folder, manifest)
    return manifest, report


def _tokenizer_policy(
    source: Source, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, limit: int
) -> TokenizerPolicy:
    files = source.files
    embeddings = text_tower(source, model).get_input_embeddings()
    family = family_of(source)
    vocabulary = int(cast(torch.Tensor, embeddings.weight).shape[0])
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else files.config.get("pad_token_id")
    return TokenizerPolicy(
        max_length=limit,
        # Masked positions only need a valid id; 0 always is one.
        pad_token_id=pad if isinstance(pad, int) and 0 <= pad < vocabulary else 0,
        padding_side="left" if tokenizer.padding_side == "left" else "right",
        vocab_size=vocabulary,
        prompts={str(key): str(value) for key, value in (files.st_config.get("prompts") or {}).items()},
        default_prompt_name=files.st_config.get("default_prompt_name"),
        pad_to_max_length=family is not None and family.pads_text,
    )


def _metadata(info: SourceInfo, spec: PoolingSpec, policy: TokenizerPolicy) -> dict[str, str]:
    """The manifest's essentials, for hosts that have the graph file alone."""
    return {
        "pool_export.format": str(FORMAT),
        "pool_export.source": info.id,
        "pool_export.revision": info.revision,
        "pool_export.architecture": info.architecture,
        "pool_export.convert": spec.convert,
        "pool_export.tasks": ",".join(spec.tasks),
        "pool_export.pooling_type": ",".join(spec.pooling),
        "pool_export.activation": spec.activation if spec.use_activation else "identity",
        "pool_export.embedding_size": str(spec.embedding_size or ""),
        "pool_export.matryoshka_dimensions": ",".join(map(str, spec.matryoshka_dimensions)),
        "pool_export.labels": json.dumps(list(spec.labels), ensure_ascii=False),
        "pool_export.max_length": str(policy.max_length),
        "pool_export.pad_token_id": str(policy.pad_token_id),
        "pool_export.version": importlib.metadata.version("pool-export"),
    }


def _producers() -> dict[str, str]:
    found = {}
    for name in _PRODUCERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(manifest))
