"""``golden.json``: texts, token ids and reference outputs that any host can replay.

Format 1: ``{"format": 1, "model": str, "tolerance": {"max_abs": float, "min_cosine": float},
"cases": [{"text": str, "pair": str | null, "input_ids": [int], "token_type_ids": [int],
"outputs": {name: nested list}}]}``. Outputs come from the reference implementation, not from the
graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from .bundle import Bundle
from .engine import Engine
from .errors import BundleError
from .manifest import GOLDEN_NAME
from .prompts import Prompt
from .tokens import Encoded

GOLDEN_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class GoldenCase:
    """One input and what the reference answered; outputs without the batch axis."""

    text: str
    pair: str | None = None
    input_ids: list[int]
    token_type_ids: list[int]
    outputs: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The whole file."""

    format: int
    model: str
    tolerance: dict[str, float]
    cases: list[GoldenCase]


@dataclass
class Replay:
    """Result of replaying a golden file."""

    cases: int = 0
    max_abs: float = 0.0
    min_cosine: float = 1.0
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every case agreed."""
        return not self.failures


def read_golden(bundle: Bundle) -> Golden:
    """Read a bundle's golden file.

    Raises:
        BundleError: missing, damaged, or newer than this version.
    """
    path = bundle.path(GOLDEN_NAME)
    try:
        golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{path} cannot be read ({error}); export the model again") from error
    if golden.format != GOLDEN_FORMAT:
        raise BundleError(f"{path} has format {golden.format}, this version reads {GOLDEN_FORMAT}")
    return golden


def replay(engine: Engine) -> Replay:
    """Tokenize and run every golden case and compare ids and outputs.

    Raises:
        BundleError: no readable golden file.
    """
    golden, result = read_golden(engine.bundle), Replay()
    for index, case in enumerate(golden.cases):
        shown = f"case {index} {case.text[:30]!r}"
        (encoded,) = engine.tokenizer.encode([Prompt(text=case.text, pair=case.pair)], [-1])
        if (encoded.ids, encoded.type_ids) != (case.input_ids, case.token_type_ids):
            result.failures.append(f"{shown}: token ids differ from the reference tokenizer's")
        found = engine.run([Encoded(case.input_ids, case.token_type_ids)], list(case.outputs))[0]
        for name, values in case.outputs.items():
            gap, cosine = _compare(np.asarray(values, np.float64), found[name])
            result.max_abs, result.min_cosine = max(result.max_abs, gap), min(result.min_cosine, cosine)
            if gap > golden.tolerance["max_abs"] and cosine < golden.tolerance["min_cosine"]:
                result.failures.append(f"{shown}: {name} differs by {gap:.2e} (cosine {cosine:.6f})")
        result.cases += 1
    return result


def _compare(want: np.ndarray, got: np.ndarray) -> tuple[float, float]:
    if want.shape != got.shape:
        return float("inf"), -1.0
    left, right = want.ravel(), got.ravel().astype(np.float64)
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    gap = float((np.abs(left - right) / np.maximum(1.0, np.abs(left))).max())
    if left.size == 1:  # the direction of one number says nothing
        return gap, -1.0 if gap > 0 else 1.0
    return gap, float(left @ right) / norms if norms > 0 else 1.0
