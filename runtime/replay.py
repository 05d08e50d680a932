"""Replay ``golden.json`` on this machine: tokenize, run, compare, and say which case failed and by how much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .bars import Bars
from .engine import Engine
from .golden import Golden, GoldenCase, dense, read_golden, tolerance_of
from .images import open_png
from .pairs import PairOptions, template_of, templated_prompt
from .prompts import Prompt
from .tokens import Encoded

_SHOWN_CHARACTERS = 30
_ZERO = 1e-4  # a vector that is stated as zero has no direction: this is how far from it still counts as zero
_TINY = 1e-20


@dataclass(frozen=True)
class Figures:
    """How far one output of one case is from the reference."""

    max_abs: float
    cosine: float


@dataclass
class CaseResult:
    """One replayed case.

    Attributes:
        name: ``case 3`` or ``image 0``.
        text: the text, or the first text of a pair; empty for an image.
        pair: the second text of a pair.
        tokens: number of token ids; 0 for an image.
        outputs: figures of each output.
        failures: what disagrees, one sentence each.
    """

    name: str
    text: str = ""
    pair: str | None = None
    tokens: int = 0
    outputs: dict[str, Figures] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def fail(self, sentence: str) -> None:
        """Note a disagreement, under the case's name."""
        shown = f"{self.name} {self.text[:_SHOWN_CHARACTERS]!r}" if self.tokens else self.name
        self.failures.append(f"{shown}: {sentence}")


@dataclass
class Replay:
    """Result of replaying a golden file; ``overall`` are failures that no single case has."""

    tolerance: Bars
    results: list[CaseResult] = field(default_factory=list)
    overall: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """Number of cases, images included."""
        return len(self.results)

    @property
    def failures(self) -> list[str]:
        """Every failure, one sentence each."""
        return [failure for result in self.results for failure in result.failures] + self.overall

    @property
    def passed(self) -> bool:
        """Whether every case agreed."""
        return not self.failures

    @property
    def max_abs(self) -> float:
        """Largest difference of all."""
        return max((figures.max_abs for figures in self._figures()), default=0.0)

    @property
    def min_cosine(self) -> float:
        """Least cosine of all."""
        return min((figures.cosine for figures in self._figures()), default=1.0)

    @property
    def mean_cosine(self) -> float:
        """Mean cosine of all."""
        return float(np.mean([figures.cosine for figures in self._figures()] or [1.0]))

    def _figures(self) -> list[Figures]:
        return [figures for result in self.results for figures in result.outputs.values()]


def replay(engine: Engine, *, check_ids: bool = True) -> Replay:
    """Tokenize and run every golden case and compare ids and outputs.

    Args:
        engine: the opened bundle.
        check_ids: tokenize too; else the stated ids alone are run.

    Raises:
        BundleError: no readable golden file.
        RuntimeFailure: the graph failed.
    """
    golden = read_golden(engine.bundle)
    result = Replay(tolerance_of(golden, engine.bundle, engine.session.precision))
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for case, stated, found in _answers(engine, golden, check_ids):
        for name in found:
            case.outputs[name] = figures = compare(stated[name], found[name])
            _judge(case, name, figures, result.tolerance)
            if found[name].size == 1 and np.isfinite(figures.max_abs):
                scores[name].append((float(dense(stated[name]).ravel()[0]), float(found[name].ravel()[0])))
        result.results.append(case)
    _judge_together(result, scores)
    return result


def _answers(
    engine: Engine, golden: Golden, check_ids: bool
) -> Iterator[tuple[CaseResult, dict[str, Any], dict[str, np.ndarray]]]:
    """Each case with what is stated and what was found; ids and missing outputs are judged on the way."""
    for index, case in enumerate(golden.cases):
        result = CaseResult(f"case {index}", case.text, case.pair, len(case.input_ids))
        if check_ids:
            _judge_ids(engine, case, result)
        names = [name for name in case.outputs if name in engine.session.output_names]
        for name in case.outputs:
            if name not in names:
                result.fail(f"the graph has no output {name!r}")
        encoded = Encoded(case.input_ids, case.token_type_ids, prompt_length=case.prompt_length)
        yield result, case.outputs, engine.run([encoded], names)[0]
    for index, picture in enumerate(golden.images):
        found = engine.run([Encoded([], [], image=open_png(picture.png))], list(picture.outputs))[0]
        yield CaseResult(f"image {index}"), picture.outputs, found


def _judge_ids(engine: Engine, case: GoldenCase, result: CaseResult) -> None:
    prompt = Prompt(text=case.text, pair=case.pair, unpooled=case.unpooled)
    (encoded,) = engine.tokenizer.encode([prompt], [-1])
    if (encoded.ids, encoded.type_ids) != (case.input_ids, case.token_type_ids):
        result.fail("token ids differ from the reference tokenizer's")
    if encoded.prompt_length != case.prompt_length:
        result.fail(f"{encoded.prompt_length} tokens of the prompt, not {case.prompt_length}")
    if case.rendered_from is not None and _rendered(engine, case.rendered_from) != case.text:
        result.fail("the score template renders another text")


def _rendered(engine: Engine, pair: tuple[str, str]) -> str | None:
    chosen = template_of(engine.tokenizer, PairOptions())
    return None if chosen is None else templated_prompt(*pair, engine.tokenizer, *chosen).text


def _judge(case: CaseResult, name: str, figures: Figures, bars: Bars) -> None:
    is_far = figures.max_abs > (np.inf if bars.max_abs is None else bars.max_abs) or np.isinf(figures.max_abs)
    if is_far or figures.cosine < bars.min_cosine:
        case.fail(f"{name} differs by {figures.max_abs:.2e} (cosine {figures.cosine:.6f})")


def _judge_together(result: Replay, scores: dict[str, list[tuple[float, float]]]) -> None:
    """The bars on all inputs together: mean cosines, and the correlation of answers that are one number."""
    bars = result.tolerance
    for name in sorted({name for case in result.results for name in case.outputs}):
        cosines = [case.outputs[name].cosine for case in result.results if name in case.outputs]
        mean = float(np.mean(cosines))
        if bars.mean_cosine is not None and mean < bars.mean_cosine:
            result.overall.append(f"all cases: {name} mean cosine {mean:.6f} < {bars.mean_cosine}")
    for name, pairs in scores.items() if bars.max_abs is None else ():
        want, got = np.array(pairs).T
        if (found := correlation(want, got)) < bars.min_cosine:
            result.overall.append(f"all cases: {name} correlation of the scores {found:.6f} < {bars.min_cosine}")


def correlation(want: np.ndarray, got: np.ndarray) -> float:
    """Pearson's correlation of two rows of numbers; 0 where only one of them varies, 1 where neither does."""
    left, right = want - want.mean(), got - got.mean()
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    if norms < _TINY:
        return float(np.linalg.norm(left) + np.linalg.norm(right) < _TINY)
    return float(left @ right / norms)


def compare(stated: Any, got: np.ndarray) -> Figures:
    """Largest difference and cosine; ``(inf, -1)`` where the two cannot be compared."""
    try:
        want = dense(stated)
    except (TypeError, ValueError, KeyError, IndexError):  # ragged, or not numbers
        return Figures(float("inf"), -1.0)
    if want.shape != got.shape or not np.isfinite(want).all():
        return Figures(float("inf"), -1.0)
    left, right = want.ravel(), got.ravel().astype(np.float64)
    gap = float((np.abs(left - right) / np.maximum(1.0, np.abs(left))).max(initial=0.0))
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    if left.size == 1:  # no direction to compare: the difference judges, or all inputs together
        return Figures(gap, 1.0)
    if norms == 0:
        return Figures(gap, float(gap <= _ZERO))
    return Figures(gap, float(left @ right) / norms)
