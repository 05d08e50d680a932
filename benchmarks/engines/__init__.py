"""One module a contender's library: `embed` (and `score`) as its users call it.

These files run in the contender's own environment (`worker.py`), so none but `ours.py` imports pool_export. A class is
opened with what to open (`Opened`) and answers lists of texts. What it returns is what its library returns; `rows`
turns that into an array, outside of the clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Opened:
    """A model and how to run it.

    Attributes:
        checkpoint: folder in Hugging Face's layout.
        bundle: the same model, exported by pool_export.
        max_length: longest input in tokens, special tokens included.
        task: ``embed`` or ``rerank``.
        dimensions: width of the model's vectors.
    """

    checkpoint: str
    bundle: str
    max_length: int
    task: str
    dimensions: int
    threads: int
    precision: str
    options: dict[str, Any] = field(default_factory=dict)
