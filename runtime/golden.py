"""``golden.json``: texts, token ids and reference outputs that any host can replay.

Format 1: ``{"format": 1, "model": str, "tolerance": {"max_abs": float, "min_cosine": float},
"tolerances": {precision: {"max_abs": float | null, "min_cosine": float, "mean_cosine": float | null}},
"cases": [{"text": str, "pair": str | null, "input_ids": [int], "token_type_ids": [int],
"outputs": {name: nested list}}], "images": [{"png": base64, "outputs": {name: list}}]}``.

- Outputs come from the reference implementation in float32, not from the graph. ``tolerance`` is that
  of the bundle's first graph, ``tolerances`` of each precision (``bars.Bars``; absent in older files).
- Every case has what the head answers; a few short ones have the graph's other outputs too
  (``last_hidden_state`` …).
- A vector as wide as a vocabulary is stated by its non-zero entries, ``{"size": n, "indices": [int],
  "values": [float]}``.
- ``truncated``: the text is longer than the model takes; the ids are what is left of it.
- ``rendered_from``: the query and document behind a text that is a rendered score template.
- ``unpooled`` and ``pooling_mask``: the beginning of the text that stays out of pooling, and the graph
  input that says so; absent, it is the attention mask.
- ``images`` only where the model embeds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import numpy as np

from .bars import BARS, Bars
from .bundle import Bundle
from .errors import BundleError
from .manifest import GOLDEN_NAME, Precision, default_precision

GOLDEN_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class GoldenCase:
    """One input and what the reference answered; outputs without the batch axis."""

    text: str
    pair: str | None = None
    input_ids: list[int]
    token_type_ids: list[int]
    outputs: dict[str, Any]
    truncated: bool = False
    rendered_from: tuple[str, str] | None = None
    unpooled: str = ""
    pooling_mask: list[int] | None = None

    @property
    def prompt_length(self) -> int:
        """Number of leading tokens that stay out of pooling."""
        return (self.pooling_mask or []).count(0)


@dataclass(frozen=True, kw_only=True)
class GoldenImage:
    """One picture, a PNG file, and what the reference answered, under the text graph's output names."""

    png: bytes
    outputs: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The whole file."""

    format: int
    model: str
    tolerance: Bars
    cases: list[GoldenCase]
    tolerances: dict[str, Bars] = field(default_factory=dict)
    images: list[GoldenImage] = field(default_factory=list)


def read_golden(bundle: Bundle) -> Golden:
    """Read a bundle's golden file.

    Raises:
        BundleError: missing, damaged, empty, or of another format than this version's.
    """
    path = bundle.path(GOLDEN_NAME)
    try:
        golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read ({error}); export the model again") from error
    if golden.format != GOLDEN_FORMAT:
        raise BundleError(
            f"{path} has format {golden.format}, this version reads {GOLDEN_FORMAT}; export the model again"
        )
    if not golden.cases:
        raise BundleError(f"{path} holds no case, so it proves nothing; export the model again")
    for index, case in enumerate(golden.cases):
        if not case.input_ids or len(case.input_ids) != len(case.token_type_ids):
            raise BundleError(f"{path}: case {index} has no or unequal token lists; export the model again")
    return golden


def tolerance_of(golden: Golden, bundle: Bundle, precision: str) -> Bars:
    """What a graph of one precision must reach: the file's word, else this version's.

    An older file speaks of the bundle's first graph alone.
    """
    if precision in golden.tolerances:
        return golden.tolerances[precision]
    return (
        golden.tolerance if precision == default_precision(bundle.manifest.graphs) else BARS[cast(Precision, precision)]
    )


def dense(stated: Any) -> np.ndarray:
    """Read a stated output: nested lists, or ``{"size": n, "indices": [int], "values": [float]}``.

    Raises:
        TypeError, ValueError, KeyError, IndexError: neither of the two.
    """
    if not isinstance(stated, dict):
        return np.asarray(stated, np.float64)
    vector = np.zeros(stated["size"], np.float64)
    vector[stated["indices"]] = stated["values"]
    return vector
