"""Write ``golden.json``: the gate's samples and what the reference answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.golden import GOLDEN_FORMAT
from ..runtime.manifest import GOLDEN_NAME
from .samples import Sample

if TYPE_CHECKING:
    pass
from .sidecars import write_json

GOLDEN_TOKENS = 48
_GOLDEN_NUMBERS = 20_000  # token-level outputs of a wide model would make the file enormous
_GOLDEN_OUTPUTS = (
    "sentence_embedding",
    "sparse_embedding",
    "token_weights",
    "logits",
    "probs",
    "rewards",
    "token_embeddings",
)


def write_golden(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    expected: Sequence[dict[str, np.ndarray]],
    tolerance: tuple[float, float] = (1e-4, 0.99999),
    longest: int = GOLDEN_TOKENS,
) -> int:
    """Write ``golden.json`` from the reference's outputs; return the number of cases.

    Args:
        folder: bundle folder.
        name: model id.
        samples: the gate's inputs.
        expected: the reference's outputs, in the same order.
        tolerance: largest difference and least cosine that a host may answer with.
        longest: longer texts, in tokens, are left out.
    """
    cases: list[dict[str, Any]] = [
        {
            "text": sample.prompt.text,
            "pair": sample.prompt.pair,
            "input_ids": sample.encoded.ids,
            "token_type_ids": sample.encoded.type_ids,
            **_golden_extras(sample),
            "outputs": {key: _stated(key, value) for key, value in _golden_outputs(outputs).items()},
        }
        for sample, outputs in zip(samples, expected, strict=True)
        if sample.prompt.text is not None
        if sum(_count(key, value) for key, value in _golden_outputs(outputs).items()) <= _GOLDEN_NUMBERS
        # A template alone is longer than that.
        if len(sample.encoded) <= longest or sample.rendered_from is not None
    ]
    golden: dict[str, Any] = {
        "format": GOLDEN_FORMAT,
        "model": name,
        "tolerance": {"max_abs": tolerance[0], "min_cosine": tolerance[1]},
        "cases": cases,
    }
    write_json(folder / GOLDEN_NAME, golden, indent=None)
    return len(cases)


def _golden_extras(sample: Sample) -> dict[str, Any]:
    """What only some cases have: the pair behind a rendered template, and what a prompt keeps out of pooling."""
    extras: dict[str, Any] = {}
    if sample.rendered_from is not None:
        extras["rendered_from"] = list(sample.rendered_from)
    if sample.prompt.unpooled:
        hidden, total = sample.encoded.prompt_length, len(sample.encoded)
        extras |= {"unpooled": sample.prompt.unpooled, "pooling_mask": [0] * hidden + [1] * (total - hidden)}
    return extras


def _golden_outputs(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs a host replays; token vectors only where they are what the head answers."""
    left_out = {"token_embeddings"} if "sentence_embedding" in outputs else set()
    return {key: value for key, value in outputs.items() if key in _GOLDEN_OUTPUTS and key not in left_out}


def _count(name: str, values: np.ndarray) -> int:
    """How many numbers an output takes in the file."""
    return 2 * int(np.count_nonzero(values)) if name == "sparse_embedding" else values.size


def _stated(name: str, values: np.ndarray) -> Any:
    """One output as the file has it: nested lists, or the non-zero entries of a vector as wide as a vocabulary."""
    if name != "sparse_embedding":
        return _rounded(values)
    indices = np.flatnonzero(values)
    return {"size": values.size, "indices": indices.tolist(), "values": _rounded(values[indices])}


def _rounded(values: np.ndarray) -> Any:
    """Nested lists at float32 precision."""
    return (
        np.vectorize(lambda x: float(f"{x:.8g}"), otypes=[object])(values).tolist() if values.size else values.tolist()
    )
