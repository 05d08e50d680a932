"""``pool-export inspect``: what a bundle holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..poolers.parts import HeadStep
from ..poolers.spec import PoolingSpec
from ..runtime.bundle import open_bundle
from ..runtime.manifest import GraphInfo, Manifest
from .engine import engine_rows
from .options import debug_option, json_option
from .output import print_json, print_table, print_wrapped

_SHOWN_OPERATORS = 4
SETTINGS = ("setting", "value", "from")
FIDELITY = (
    "precision",
    "size",
    "max-abs",
    "min cosine",
    "mean cosine",
    "top-10 overlap",
    "alone or in a batch",
    "note",
)


class Worst(NamedTuple):
    """The worst figures of a parity report."""

    max_abs: float
    min_cosine: float
    mean_cosine: float


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path))
@json_option
@debug_option
def inspect_command(bundle: Path, as_json: bool) -> None:
    """Show what BUNDLE holds: source, head with the origin of each setting, graphs, parity.

    \b
    Examples:
      pool-export inspect ./bundle
      pool-export inspect ./bundle --json | jq .pooling
    """
    manifest = open_bundle(bundle).manifest
    if as_json:
        print_json(manifest)
        return
    source = manifest.source
    origin = f"{source.id}@{source.revision[:12]}" if source.revision else source.id
    how = f"adopted from {source.adopted_from} of" if source.adopted_from else "made from"
    print_wrapped(f"{bundle}: {how} {origin} ({source.architecture}), licence {source.licence or 'not stated'}")
    click.echo()
    print_table("Head", SETTINGS, pooling_rows(manifest))
    print_table("Graphs", ("graph", "file", "size", "opset", "rewritten"), _graph_rows(manifest))
    print_table("Inputs and outputs", ("", "name", "type", "shape"), _tensor_rows(manifest))
    if len(manifest.graphs) > 1:
        print_table("Precisions", FIDELITY, fidelity_rows(manifest))
    if engines := engine_rows(bundle, manifest):
        print_table("Engines", ("engine", "size", "library", "compute capability", "profiles", ""), engines)
    columns = ("graph", "case", "output", "max-abs", "min cosine")
    reference = next(iter(manifest.graphs.values())).parity.get("reference", "the reference")
    print_table(f"Parity with {reference}", columns, _parity_rows(manifest))
    print_wrapped("made with " + ", ".join(f"{name} {version}" for name, version in manifest.producer.items()))


def pooling_rows(manifest: Manifest) -> list[tuple[str, object, str]]:
    """Rows of the head's settings: name, value, source."""
    spec, policy = manifest.pooling, manifest.tokenizer
    origin = spec.sources
    rows: list[tuple[str, object, str]] = [
        ("convert", spec.convert, ""),
        ("tasks", ", ".join(manifest.tasks), ""),
        *map(_step_row, spec.token_steps),
        ("pooling", _pooling_words(spec), origin.get("pooling", "")),
        *map(_step_row, spec.steps),
        *_token_rows(spec),
        ("activation", spec.activation if spec.use_activation else "none", origin.get("use_activation", "")),
    ]
    if spec.embedding_size:
        rows.append(("embedding size", spec.embedding_size, ""))
    if spec.is_matryoshka:
        rows.append(("matryoshka", ", ".join(map(str, spec.matryoshka_dimensions)) or "any size", ""))
    if spec.labels:
        rows.append(("labels", ", ".join(spec.labels), ""))
    for name in ("dimensions", "logit_mean", "logit_sigma", "step_tag_id", "returned_token_ids"):
        value = getattr(spec, name)
        if value is not None:
            rows.append((name, value, origin.get(name, "")))
    rows += _vector_rows(manifest)
    rows.append(("longest input", f"{policy.max_length} tokens", ""))
    if policy.pad_to_max_length:
        rows.append(("padding", f"every text to {policy.max_length} tokens, attended to", ""))
    if manifest.image is not None:
        rows.append(("images", f"{manifest.image.policy.width} × {manifest.image.policy.height} pixels", ""))
    return rows + _request_rows(manifest) + _card_rows(manifest)


def _token_rows(spec: PoolingSpec) -> list[tuple[str, object, str]]:
    """How rows of a language model's output layer became the classifier."""
    if spec.classifier_method is None:
        return []
    tokens = spec.classifier_tokens or spec.classifier_token_ids  # LogitScore names ids
    value = f"{spec.classifier_method} of {', '.join(map(repr, tokens))}"
    return [("classifier", value, spec.sources.get("classifier_method", ""))]


def _card_rows(manifest: Manifest) -> list[tuple[str, object, str]]:
    if manifest.card is None:
        return []
    return [("card", manifest.card.id, ""), *(("hazard", hazard, "card") for hazard in manifest.card.hazards)]


def _request_rows(manifest: Manifest) -> list[tuple[str, object, str]]:
    """What concerns prompts and pairs, where it is not as usual."""
    spec, policy = manifest.pooling, manifest.tokenizer
    rows: list[tuple[str, object, str]] = []
    if policy.prompts:
        filled = manifest.card is not None and "prompts" in manifest.card.filled
        rows.append(("prompts", ", ".join(policy.prompts), "card" if filled else ""))
    if policy.default_prompt_name is not None:
        rows.append(("default prompt", policy.default_prompt_name, ""))
    if not spec.include_prompt:
        rows.append(("prompt tokens", "not pooled", ""))
    if policy.score_template is not None:
        rows.append(("score template", f"{len(policy.score_template)} characters of jinja", ""))
    if manifest.similarity != "cosine":
        rows.append(("similarity", manifest.similarity, ""))
    return rows


def _pooling_words(spec: PoolingSpec) -> str:
    return " + ".join(spec.pooling) + (" of the logits" if spec.pools_logits else "")


def _step_row(step: HeadStep) -> tuple[str, object, str]:
    if step.kind == "normalize":
        return step.kind, "to unit length", step.path
    added = ", plus its input" if step.residual else ""
    return step.kind, f"{step.in_features} → {step.out_features}, {step.activation}{added}", step.path


def _vector_rows(manifest: Manifest) -> list[tuple[str, object, str]]:
    """What sparse and multi-vector heads declare."""
    rows: list[tuple[str, object, str]] = []
    sparse, late = manifest.pooling.sparse, manifest.pooling.late_interaction
    if sparse is not None:
        shown = f"{sparse.strategy}, {sparse.function}" if sparse.kind == "splade" else "a weight per token"
        rows.append(("sparse", shown, ""))
    if late is None:
        return rows
    for name, side in (("queries", late.query), ("documents", late.document)):
        said = {
            f"marker {side.marker!r}": side.marker,
            f"prompt {side.prompt!r}": side.prompt,
            f"at most {side.max_length} tokens": side.max_length,
            f"without {len(late.skiplist_token_ids)} tokens": side.skips and late.skiplist_token_ids,
        }
        shown = ", ".join(words for words, is_said in said.items() if is_said)
        rows += [(name, shown, "")] if shown else []
    if late.expansion is not None:
        seen = "attended" if late.expansion.attend else "not attended"
        rows.append(("query expansion", f"to {late.expansion.length} tokens, {seen}", ""))
    return rows


def fidelity_rows(manifest: Manifest) -> list[tuple[object, ...]]:
    """One row a graph that was verified: the worst figures of all cases and outputs."""
    return [
        (
            precision,
            _size(graph),
            f"{found.max_abs:.1e}",
            f"{found.min_cosine:.6f}",
            f"{found.mean_cosine:.6f}",
            f"{graph.parity['neighbour_overlap']:.3f}",
            f"{graph.parity['batch_invariance']:.0e}",
            _remark(graph),
        )
        for precision, graph in manifest.graphs.items()
        if (found := worst_figures(graph.parity)) is not None
    ]


def worst_figures(report: Mapping[str, Any]) -> Worst | None:
    """The worst figures of all cases and outputs of a parity report; ``None`` for a graph without one."""
    figures = [figure for case in report.get("cases", {}).values() for figure in case.values()]
    if not figures:
        return None
    return Worst(
        max(figure["max_abs"] for figure in figures),
        min(figure["min_cosine"] for figure in figures),
        min(figure["mean_cosine"] for figure in figures),
    )


def _remark(graph: GraphInfo) -> str:
    """What a reader of the figures should know: who ran the graph, and what of it stayed float32."""
    said = [graph.parity["run_by"]] if "run_by" in graph.parity else []
    if kept := graph.parity.get("float32_layers"):
        said.append(f"{len(kept)} layers in float32")
    return "; ".join(said if graph.parity["passed"] else ["MISSES ITS BARS", *said])


def _size(graph: GraphInfo) -> str:
    return f"{sum(file.size for file in graph.files) / 1e6:.1f} MB"


def _graphs(manifest: Manifest) -> list[tuple[str, GraphInfo]]:
    image = manifest.image.graphs if manifest.image is not None else {}
    text = [("fp32 from text", manifest.text.graph)] if manifest.text is not None else []
    return [*manifest.graphs.items(), *((f"image {name}", graph) for name, graph in image.items()), *text]


def _graph_rows(manifest: Manifest) -> list[tuple[object, ...]]:
    return [
        (
            precision,
            graph.files[0].path,
            _size(graph),
            " + ".join([str(graph.opset), *_operators(graph)]),
            ", ".join(f"{count} × {name}" for name, count in graph.passes.items()),
        )
        for precision, graph in _graphs(manifest)
    ]


def _operators(graph: GraphInfo) -> list[str]:
    """Operators outside the standard; by domain where they are of many kinds."""
    if len(graph.operators) <= _SHOWN_OPERATORS:
        return [f"{count} × {name}" for name, count in graph.operators.items()]
    domains = Counter[str]()
    for name, count in graph.operators.items():
        domains[name.rpartition(".")[0]] += count
    return [f"{count} of {name}" for name, count in domains.items()]


def _tensor_rows(manifest: Manifest) -> list[tuple[object, ...]]:
    # Graphs of all precisions have one signature by contract; rows that differ would show.
    rows = [
        (kind, item.name, item.dtype, " × ".join(map(str, item.shape)))
        for _, graph in _graphs(manifest)
        for kind, tensors in (("in", graph.inputs), ("out", graph.outputs))
        for item in tensors
    ]
    return list(dict.fromkeys(rows))


def _parity_rows(manifest: Manifest) -> list[tuple[object, ...]]:
    return [
        (precision, case, name, f"{figure['max_abs']:.1e}", f"{figure['min_cosine']:.7f}")
        for precision, graph in _graphs(manifest)
        for case, figures in graph.parity.get("cases", {}).items()
        for name, figure in figures.items()
    ]
