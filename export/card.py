"""The bundle's README: a generated card with snippets that run as they stand."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..runtime.manifest import Manifest

_TEMPLATE = "card.md.jinja"


def render_card(manifest: Manifest) -> str:
    """Render the card of a manifest."""
    loader = PackageLoader(__name__.rpartition(".")[0], "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    graph = manifest.graphs.get("fp32") or next(iter(manifest.graphs.values()))
    return environment.get_template(_TEMPLATE).render(
        manifest=manifest,
        spec=manifest.pooling,
        source=manifest.source,
        policy=manifest.tokenizer,
        graph=graph,
        parity=graph.parity,
    )


def write_card(folder: Path, manifest: Manifest) -> None:
    """Write ``README.md`` into the bundle."""
    (folder / "README.md").write_text(render_card(manifest), encoding="utf-8")
