"""``golden.json``: texts, token ids and reference outputs that any host can replay.

Format 1: ``{"format": 1, "model": str, "tolerance": {"max_abs": float, "min_cosine": float},
"cases": [{"text": str, "pair": str | null, "input_ids": [int], "token_type_ids": [int],
"outputs": {name: nested list}}], "images": [{"png": base64, "outputs": {name: list}}]}``; ``images``
only where the model embeds them. A vector as wide as a vocabulary is stated by its non-zero
entries, ``{"size": n, "indices": [int], "values": [float]}``. A case may also have ``rendered_from``
(the query and document behind a text that is a rendered score template), and ``unpooled`` with
``pooling_mask`` (the beginning of the text that stays out of pooling, and the graph input that says
so; absent, it is the attention mask). Outputs come from the reference implementation, not from the
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
from .images import open_png
from .manifest import GOLDEN_NAME
from .pairs import PairOptions, template_of, templated_prompt
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
class Tolerance:
    """What an answer must reach, in both measures.

    ``max_abs`` is absolute up to magnitude 1 and relative above. A cosine alone would forgive a
    wrong scale (of a logit, say), a distance alone a wrong direction of a small vector.
    """

    max_abs: float
    min_cosine: float


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The whole file."""

    format: int
    model: str
    tolerance: Tolerance
    cases: list[GoldenCase]
    images: list[GoldenImage] = field(default_factory=list)


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


def replay(engine: Engine) -> Replay:
    """Tokenize and run every golden case and compare ids and outputs.

    Raises:
        BundleError: no readable golden file.
        RuntimeFailure: the graph failed.
    """
    golden, result = read_golden(engine.bundle), Replay()
    for index, case in enumerate(golden.cases):
        shown = f"case {index} {case.text[:30]!r}"
        prompt = Prompt(text=case.text, pair=case.pair, unpooled=case.unpooled)
        (encoded,) = engine.tokenizer.encode([prompt], [-1])
        if (encoded.ids, encoded.type_ids) != (case.input_ids, case.token_type_ids):
            result.failures.append(f"{shown}: token ids differ from the reference tokenizer's")
        if encoded.prompt_length != case.prompt_length:
            result.failures.append(f"{shown}: {encoded.prompt_length} tokens of the prompt, not {case.prompt_length}")
        if case.rendered_from is not None and _rendered(engine, case.rendered_from) != case.text:
            result.failures.append(f"{shown}: the score template renders another text")
        _replay_outputs(engine, case, shown, golden.tolerance, result)
        result.cases += 1
    for index, picture in enumerate(golden.images):
        found = engine.run([Encoded([], [], image=open_png(picture.png))], list(picture.outputs))[0]
        _judge(picture.outputs, found, f"image {index}", golden.tolerance, result)
        result.cases += 1
    return result


def _rendered(engine: Engine, pair: tuple[str, str]) -> str | None:
    chosen = template_of(engine.tokenizer, PairOptions())
    return None if chosen is None else templated_prompt(*pair, engine.tokenizer, *chosen).text


def _replay_outputs(engine: Engine, case: GoldenCase, shown: str, tolerance: Tolerance, result: Replay) -> None:
    names = [name for name in case.outputs if name in engine.session.output_names]
    result.failures += [f"{shown}: the graph has no output {name!r}" for name in case.outputs if name not in names]
    found = engine.run([Encoded(case.input_ids, case.token_type_ids, prompt_length=case.prompt_length)], names)[0]
    _judge(case.outputs, found, shown, tolerance, result)


def _judge(
    outputs: dict[str, Any], found: dict[str, np.ndarray], shown: str, tolerance: Tolerance, result: Replay
) -> None:
    for name in found:
        gap, cosine = _compare(outputs[name], found[name])
        result.max_abs, result.min_cosine = max(result.max_abs, gap), min(result.min_cosine, cosine)
        if gap > tolerance.max_abs or cosine < tolerance.min_cosine:
            result.failures.append(f"{shown}: {name} differs by {gap:.2e} (cosine {cosine:.6f})")


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


def _compare(stated: Any, got: np.ndarray) -> tuple[float, float]:
    """Largest difference and cosine; ``(inf, -1)`` where the two cannot be compared."""
    try:
        want = dense(stated)
    except (TypeError, ValueError, KeyError, IndexError):  # ragged, or not numbers
        return float("inf"), -1.0
    if want.shape != got.shape or not np.isfinite(want).all():
        return float("inf"), -1.0
    left, right = want.ravel(), got.ravel().astype(np.float64)
    gap = float((np.abs(left - right) / np.maximum(1.0, np.abs(left))).max(initial=0.0))
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    if left.size == 1 or norms == 0:  # no direction to compare; the difference judges
        return gap, 1.0
    return gap, float(left @ right) / norms
