"""The export, told in order: find, resolve, load, adapt, trace, write, verify, publish."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx_ir as ir
from transformers import PreTrainedTokenizerBase

from ..poolers.errors import ConfigError
from ..poolers.image_text import image_text_family
from ..poolers.limits import max_length
from ..poolers.resolve import resolve
from ..poolers.spec import PoolingSpec
from ..poolers.token_ids import with_token_ids
from ..runtime.bundle import open_bundle
from ..runtime.config import RuntimeConfig
from ..runtime.engine import Engine
from ..runtime.manifest import Manifest, TokenizerPolicy
from .adapters import adapt
from .assemble import assemble, graph_metadata, similarity, write_manifest
from .card import write_card
from .engines.build import NO_TOWERS, build_engine, chosen_profiles, require_buildable
from .engines.options import engine_precisions
from .errors import ExportError
from .golden_file import write_golden
from .known import known_card, lines, mark_sources, with_card
from .language_head import with_row_ids
from .load import load_model, load_tokenizer
from .policy import tokenizer_policy
from .precision.siblings import Gate, add_siblings
from .reference import Reference
from .reporting import ExportResult, Reporter, SilentReporter, default_output
from .request import ExportRequest
from .request_texts import stored_template, template_note
from .samples import parity_samples
from .sidecars import write_config, write_tokenizer, write_transformers_js
from .source import Source, open_source
from .st_files import write_sentence_transformers
from .text_input.step import add_text_graph, checked_text_part
from .tokenizer_check import check_tokenizer
from .trace import annotate, trace
from .verify import require_parity, verify
from .vision import add_image_tower, check_towers
from .vision_check import reference_for, verify_images
from .write import check_target, staged, write_graph

__all__ = ["ExportResult", "Reporter", "SilentReporter", "default_output", "export_model"]


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
    if request.engine.target is not None:
        require_buildable(request.engine)
    show = reporter or SilentReporter()
    # A Hub id is downloaded here, under huggingface_hub's own bars.
    with show.step(f"Reading {request.model}", animated=Path(request.model).expanduser().is_dir()):
        source = open_source(request)
    source, request = with_card(source, request, known_card(request))
    for text in lines(source.card):
        show.note(text)
    return _export(source, request, request.output or default_output(source), show)


def _export(source: Source, request: ExportRequest, target: Path, show: Reporter) -> ExportResult:
    check_target(target, request.force)
    spec = resolve(source.files, convert=request.convert, runner=request.runner, pooler_config=request.user_pooler())  # type: ignore[arg-type]
    spec = mark_sources(spec, source.card)
    template = stored_template(request, spec)
    similarity(source.files, spec)  # refused before any work
    limit = max_length(source.files, request.max_model_len)
    _check_engine(source, request, limit)
    with show.step("Loading weights"):
        tokenizer = load_tokenizer(source, request)
        spec = with_row_ids(with_token_ids(spec, tokenizer.get_vocab(), _special_ids(tokenizer)), tokenizer)
        model = load_model(source, request, spec)
    check_towers(source, tokenizer, model, limit)
    with show.step("Tracing the graph"):
        program = trace(adapt(source, model, spec), max_length=limit, opset=request.opset)
    policy = tokenizer_policy(source, tokenizer, model, limit, template)
    text = None
    if request.text_input:
        with show.step("Comparing the graph's tokenizer"):
            text = checked_text_part(tokenizer, policy, spec, request.opset)
    with staged(target, request.force) as folder:
        with show.step("Writing the bundle"):
            write_tokenizer(folder, source, tokenizer, limit)
            write_config(folder, source, spec)
            write_sentence_transformers(folder, source, spec, policy)
            manifest = _write_graph(folder, source, spec, policy, program)
            manifest = add_image_tower(folder, source, model, manifest, request.opset, program.metadata_props)
            write_manifest(folder, manifest)
        reference = reference_for(source, model, spec)
        manifest, report = _verify(folder, manifest, reference, tokenizer, program, request, show)
        write_transformers_js(folder, manifest.graphs)
        if text is not None:
            with show.step("Writing the text-input graph"):
                manifest = add_text_graph(folder, manifest, *text)
                write_manifest(folder, manifest)
        write_card(folder, manifest)
        wanted = engine_precisions(request.precision) if request.engine.target is not None else ()
        engines = tuple(build_engine(folder, manifest, name, request.engine, show) for name in wanted)
    note = template_note(source.files, spec, policy)
    return ExportResult(target, manifest, report, (note,) if note else (), engines)


def _check_engine(source: Source, request: ExportRequest, limit: int) -> None:
    """Refuse an engine that cannot be, before the weights are loaded."""
    if request.engine.target is None:
        return
    if image_text_family(source.files) is not None:
        raise ConfigError(NO_TOWERS)
    chosen_profiles(request.engine, limit)


def _write_graph(
    folder: Path, source: Source, spec: PoolingSpec, policy: TokenizerPolicy, program: ir.Model
) -> Manifest:
    annotate(program, graph_metadata(source, spec, policy))
    manifest = assemble(source, spec, policy, {"fp32": write_graph(program, folder)})
    write_manifest(folder, manifest)
    return manifest


def _verify(
    folder: Path,
    manifest: Manifest,
    reference: Reference,
    tokenizer: PreTrainedTokenizerBase,
    program: ir.Model,
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
    outputs = engine.session.output_names
    if not write_golden(folder, manifest.source.id, samples, expected, tokenizer=engine.tokenizer, outputs=outputs):
        raise ExportError("no sample text was short enough for golden.json")
    graph = dataclasses.replace(manifest.graphs["fp32"], parity=report)
    manifest = dataclasses.replace(manifest, graphs={"fp32": graph})
    manifest = verify_images(folder, manifest, reference, engine, allow_mismatch=request.allow_mismatch)
    gate = Gate(samples, expected, request.allow_mismatch)
    manifest = add_siblings(folder, manifest, program, request.precision, engine.tokenizer, gate, show)
    write_manifest(folder, manifest)
    return manifest, report


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    roles = ("cls", "eos", "sep", "pad", "unk", "mask")
    return {role: getattr(tokenizer, f"{role}_token_id", None) for role in roles}
