"""``pool-export inspect``: what a bundle holds."""

from __future__ import annotations

from pathlib import Path

import click

from ..runtime.bundle import open_bundle
from ..runtime.manifest import Manifest
from .options import debug_option, json_option
from .output import print_json, print_table, print_wrapped

SETTINGS = ("setting", "value", "from")


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
    print_wrapped(f"{bundle}: made from {origin} ({source.architecture}), licence {source.licence or 'not stated'}")
    click.echo()
    print_table("Head", SETTINGS, pooling_rows(manifest))
    print_table("Graphs", ("graph", "file", "size", "opset"), _graph_rows(manifest))
    print_table("Inputs and outputs", ("", "name", "type", "shape"), _tensor_rows(manifest))
    columns = ("graph", "case", "output", "max-abs", "min cosine")
    print_table("Parity with the reference", columns, _parity_rows(manifest))
    print_wrapped("made with " + ", ".join(f"{name} {version}" for name, version in manifest.producer.items()))


def pooling_rows(manifest: Manifest) -> list[tuple[str, object, str]]:
    """Rows of the head's settings: name, value, source."""
    spec, policy = manifest.pooling, manifest.tokenizer
    origin = spec.sources
    rows: list[tuple[str, object, str]] = [
        ("convert", spec.convert, ""),
        ("tasks", ", ".join(manifest.tasks), ""),
        ("pooling", " + ".join(spec.pooling), origin.get("pooling", "")),
        ("activation", spec.activation if spec.use_activation else "none", origin.get("use_activation", "")),
    ]
    rows += [
        (step.kind, f"{step.in_features} → {step.out_features}, {step.activation}", step.path) for step in spec.steps
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
    rows.append(("longest input", f"{policy.max_length} tokens", ""))
    return rows + _request_rows(manifest)


def _request_rows(manifest: Manifest) -> list[tuple[str, object, str]]:
    """What concerns prompts and pairs, where it is not as usual."""
    spec, policy = manifest.pooling, manifest.tokenizer
    rows: list[tuple[str, object, str]] = []
    if policy.prompts:
        rows.append(("prompts", ", ".join(policy.prompts), ""))
    if policy.default_prompt_name is not None:
        rows.append(("default prompt", policy.default_prompt_name, ""))
    if not spec.include_prompt:
        rows.append(("prompt tokens", "not pooled", ""))
    if policy.score_template is not None:
        rows.append(("score template", f"{len(policy.score_template)} characters of jinja", ""))
    if manifest.similarity != "cosine":
        rows.append(("similarity", manifest.similarity, ""))
    return rows


def _graph_rows(manifest: Manifest) -> list[tuple[object, ...]]:
    return [
        (
            precision,
            graph.files[0].path,
            f"{sum(file.size for file in graph.files) / 1e6:.1f} MB",
            graph.opset,
        )
        for precision, graph in manifest.graphs.items()
    ]


def _tensor_rows(manifest: Manifest) -> list[tuple[object, ...]]:
    # Graphs of all precisions have one signature by contract; rows that differ would show.
    rows = [
        (kind, item.name, item.dtype, " × ".join(map(str, item.shape)))
        for graph in manifest.graphs.values()
        for kind, tensors in (("in", graph.inputs), ("out", graph.outputs))
        for item in tensors
    ]
    return list(dict.fromkeys(rows))


def _parity_rows(manifest: Manifest) -> list[tuple[object, ...]]:
    return [
        (precision, case, name, f"{figure['max_abs']:.1e}", f"{figure['min_cosine']:.7f}")
        for precision, graph in manifest.graphs.items()
        for case, figures in graph.parity.get("cases", {}).items()
        for name, figure in figures.items()
    ]
