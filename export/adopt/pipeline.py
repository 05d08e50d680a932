"""Adopting, told in order: find, resolve, read, operate, write, verify, take the siblings along, publish."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx_ir as ir

from ...poolers.limits import max_length
from ...poolers.resolve import resolve
from ...runtime.bars import BARS
from ...runtime.bundle import open_bundle
from ...runtime.config import RuntimeConfig
from ...runtime.engine import Engine
from ...runtime.manifest import Manifest, TokenizerPolicy
from ..assemble import assemble, graph_metadata, write_manifest
from ..card import write_card
from ..errors import ExportError, ParityError
from ..golden_file import write_golden
from ..graphs import annotate
from ..known import known_card, lines, mark_sources, with_card
from ..reporting import ExportResult, Reporter, SilentReporter, default_output
from ..request import ExportRequest
from ..request_texts import stored_template, template_note
from ..samples import Sample, parity_samples
from ..sidecars import write_config, write_transformers_js
from ..source import Source, read_source
from ..st_files import write_sentence_transformers
from ..verify import require_parity, verify
from ..write import check_target, staged, write_graph
from .files import GraphFiles, find_graphs, locate_export
from .known import require_known
from .oracle import OriginalOracle
from .original import Original, read_original
from .outputs import find_answer
from .siblings import add_siblings
from .surgery import adopt_graph
from .tokenizer import AdoptedTokenizer, valid_id

REFERENCE = "the original ONNX graph (not torch)"

# Above this difference a text of a quantised graph depends on what it is batched with.
_MAX_NEIGHBOUR_EFFECT = 1e-3

# What another host may differ by, where the bundle's first graph is a half-precision or a quantised one.
_OWN_GAP = 1e-2


def adopt_model(request: ExportRequest, graph: str | None = None, reporter: Reporter | None = None) -> ExportResult:
    """Turn an existing ONNX export into a verified bundle, without torch.

    Args:
        request: what to adopt; ``model`` is the folder, or a Hub id. ``opset`` and ``trust_remote_code`` play no
            part: the graph keeps its opset, and no code is run.
        graph: path of the ONNX file inside the folder; ``None`` looks for the known names.
        reporter: shows the steps.

    Returns:
        The bundle's folder, manifest and parity report, and what became of the siblings.

    Raises:
        PoolExportError: any of its leaves; nothing is written then.
    """
    if request.output is not None:
        check_target(request.output, request.force)
    show = reporter or SilentReporter()
    with show.step(f"Reading {request.model}", animated=Path(request.model).expanduser().is_dir()):
        folder, revision = locate_export(request, graph)
        files = find_graphs(folder, graph)
        source = read_source(request, folder, revision)
        original = read_original(files.main)
    source, request = with_card(source, request, known_card(request))
    for text in lines(source.card):
        show.note(text)
    return _adopt(source, files, original, request, show)


def _adopt(
    source: Source, files: GraphFiles, original: Original, request: ExportRequest, show: Reporter
) -> ExportResult:
    target = request.output or default_output(source)
    check_target(target, request.force)
    spec = resolve(source.files, convert=request.convert, runner=request.runner, pooler_config=request.user_pooler())  # type: ignore[arg-type]
    spec = mark_sources(spec, source.card)
    require_known(spec)
    template = stored_template(request, spec)
    limit = max_length(source.files, request.max_model_len)
    tokenizer = AdoptedTokenizer(source)
    policy = tokenizer.policy(source, limit, vocabulary_size(original.program, source), template)
    answer = find_answer(original, source, spec).name
    with show.step("Adding the head"):
        program = adopt_graph(original, source, spec, _pad_id(source, policy))
    with staged(target, request.force) as folder:
        with show.step("Writing the bundle"):
            tokenizer.write(folder, source, limit)
            write_config(folder, source, spec)
            write_sentence_transformers(folder, source, spec, policy)
            annotate(program, graph_metadata(source, spec, policy))
            info = dataclasses.replace(write_graph(program, folder), operators=original.operators)
            name = files.main.relative_to(source.folder).as_posix()
            manifest = assemble(source, spec, policy, {original.precision: info}, adopted_from=name)
            write_manifest(folder, manifest)
        oracle = OriginalOracle(files.main, answer, source, spec)
        manifest, report, samples = _verify(folder, manifest, original, oracle, request, show)
        note = template_note(source.files, spec, policy)
        notes: list[str] = [note] if note else []
        if original.precision == "fp32" and files.siblings:
            with show.step("Comparing the graphs of other precisions"):
                manifest, added = add_siblings(folder, manifest, files.siblings, source, oracle, samples)
            notes += added
            write_manifest(folder, manifest)
        write_transformers_js(folder, manifest.graphs)
        write_card(folder, manifest)
    return ExportResult(target, manifest, report, tuple(notes))


def _verify(
    folder: Path,
    manifest: Manifest,
    original: Original,
    oracle: OriginalOracle,
    request: ExportRequest,
    show: Reporter,
) -> tuple[Manifest, dict[str, Any], list[Sample]]:
    precision = original.precision
    engine = Engine(open_bundle(folder), RuntimeConfig(device="cpu", precision=precision))
    samples = parity_samples(engine.tokenizer, manifest.pooling)
    with show.step("Verifying against the original graph", len(samples)) as advance:
        report, expected = verify(oracle, engine, samples, advance)
    report["reference"] = REFERENCE
    _judge_neighbours(report)
    if not request.allow_mismatch:
        try:
            require_parity(report)
        except ParityError as error:
            raise ParityError(f"{error}. {_hint(report)}") from None
    written = write_golden(
        folder,
        manifest.source.id,
        samples,
        expected,
        tokenizer=engine.tokenizer,
        outputs=engine.session.output_names,
        precision=precision,
        bars=BARS[precision] if precision == "fp32" else dataclasses.replace(BARS[precision], max_abs=_OWN_GAP),
    )
    if not written:
        raise ExportError("no sample text was short enough for golden.json")
    graph = dataclasses.replace(manifest.graphs[precision], parity=report)
    manifest = dataclasses.replace(manifest, graphs={precision: graph})
    write_manifest(folder, manifest)
    return manifest, report, samples


def _judge_neighbours(report: dict[str, Any]) -> None:
    """A cosine bar would let a quantised graph answer otherwise in every batch; as the only graph it may not."""
    if report["precision"] == "int8" and report["batch_invariance"] > _MAX_NEIGHBOUR_EFFECT:
        report["failures"].append(
            f"a text alone and in a batch differ by {report['batch_invariance']:.1e} > {_MAX_NEIGHBOUR_EFFECT:.0e}"
        )
        report["passed"] = False


def _hint(report: dict[str, Any]) -> str:
    failures = " ".join(report["failures"])
    if report["precision"] == "int8":
        return (
            "Activations that are quantised by batch make a text depend on its neighbours: adopt the float graph, "
            "the int8 file beside it is then taken along"
        )
    if "alone/" not in failures:
        return (
            "Alone every text agrees, so the original graph itself lets the padding or the neighbours of a text "
            "change its answer; export the checkpoint itself: pool-export MODEL"
        )
    return "Alone, too, the two disagree, which a head cannot cause; please report it with the model's name"


def vocabulary_size(program: ir.Model, source: Source) -> int:
    """Rows of the embedding table: what ``input_ids`` indexes in the graph, or what ``config.json`` says."""
    ids = next(value for value in program.graph.inputs if value.name == "input_ids")
    for node in ids.consumers():
        table = node.inputs[0] if node.op_type == "Gather" and node.inputs[1] is ids else None
        if table is not None and table.const_value is not None:
            return int(table.const_value.numpy().shape[0])
    stated = source.files.config.get("vocab_size")
    return stated if isinstance(stated, int) else 0


def _pad_id(source: Source, policy: TokenizerPolicy) -> int:
    """The token that the model itself takes for padding."""
    return valid_id((source.files.config.get("pad_token_id"), policy.pad_token_id), policy.vocab_size)
