"""The parity gate: the runtime users run, against the reference, before anything is written.

Protocol and bars: ``docs/design.md`` section 7. Every sample is answered alone, in ragged
batches, and with 0, 7 and 64 padded positions on either side; a missed bar fails the export.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..runtime.bars import BARS, Bars
from ..runtime.engine import Engine
from ..runtime.errors import RuntimeFailure
from ..runtime.manifest import Precision
from ..runtime.outputs import require_finite
from ..runtime.replay import correlation
from .errors import ParityError
from .oracle import Array, Oracle
from .samples import Sample

Progress = Callable[[int], object]

_EXTRA_PADDING = (0, 7, 64)
_PADDED_SAMPLES = 8
_NEIGHBOURS = 10


def verify(
    reference: Oracle, engine: Engine, samples: Sequence[Sample], progress: Progress | None = None
) -> tuple[dict[str, Any], list[dict[str, Array]]]:
    """Compare the engine with the reference.

    Args:
        reference: the oracle.
        engine: the runtime, opened on the bundle under test.
        samples: inputs.
        progress: called with the number of samples just answered by the reference.

    Returns:
        The report stored in the manifest (``passed``, figures per case, the bars), and the
        reference's outputs in sample order.

    Raises:
        ParityError: the graph cannot be compared at all: it fails, or answers NaN or another shape.
    """
    expected = _answers(reference, samples, progress)
    return check(engine, samples, expected, engine.session.precision), expected


def check(
    engine: Engine, samples: Sequence[Sample], expected: Sequence[dict[str, Array]], precision: Precision
) -> dict[str, Any]:
    """Compare the engine with what the reference answered; see ``verify``.

    Args:
        engine: the runtime, opened on the bundle under test.
        samples: inputs.
        expected: the reference's outputs, in the same order.
        precision: whose bars count.

    Raises:
        ParityError: as ``verify``.
    """
    try:
        report = {**_report(engine, samples, expected), "precision": precision}
    except RuntimeFailure as error:
        raise ParityError(f"the {precision} graph cannot be run: {error}. Nothing was written") from error
    judge(report, BARS[precision])
    return report


def require_parity(report: dict[str, Any]) -> None:
    """Fail unless the report passed.

    Raises:
        ParityError: the failures, one clause each.
    """
    if not report["passed"]:
        raise ParityError(
            f"the {report['precision']} graph disagrees with the reference: {'; '.join(report['failures'])}. "
            "Nothing was written; --allow-mismatch writes it all the same"
        )


def _answers(reference: Oracle, samples: Sequence[Sample], progress: Progress | None) -> list[dict[str, Array]]:
    expected: list[dict[str, Array]] = []
    for sample in samples:
        item = sample.encoded
        outputs = reference.outputs(
            item.ids, item.type_ids, unattended=item.unattended, prompt_length=item.prompt_length
        )
        if not all(np.isfinite(value).all() for value in outputs.values()):
            raise ParityError("the model itself answers NaN or infinity, before any export; its weights are damaged")
        expected.append(outputs)
        if progress is not None:
            progress(1)
    return expected


def _report(engine: Engine, samples: Sequence[Sample], expected: Sequence[dict[str, Array]]) -> dict[str, Any]:
    names = [name for name in engine.session.output_names if name in expected[0]]
    encoded = [sample.encoded for sample in samples]
    cases = {
        "alone": [engine.run([item], names)[0] for item in encoded],
        "batched": engine.run(encoded, names),
    }
    figures = {case: compare(names, expected, answers) for case, answers in cases.items()}
    return {
        "precision": engine.session.precision,
        "samples": len(samples),
        "longest_tokens": max(len(item) for item in encoded),
        "cases": {**figures, "padded": _padded(engine, names, samples, expected)},
        "batch_invariance": max(
            _difference(alone[names[0]], batched[names[0]])
            for alone, batched in zip(cases["alone"], cases["batched"], strict=True)
        ),
        "neighbour_overlap": _neighbour_overlap(names[0], expected, cases["batched"]),
        **_score_correlation(expected, cases["batched"]),
        "empty_row_finite": _empty_row_is_finite(engine, names),
    }


def judge(report: dict[str, Any], bars: Bars) -> None:
    """Write bars, failures and verdict into a report."""
    failures = []
    for case, figures in report["cases"].items():
        for name, figure in figures.items():
            if bars.max_abs is not None and figure["max_abs"] > bars.max_abs:
                failures.append(f"{case}/{name} max-abs {figure['max_abs']:.2e} > {bars.max_abs:.0e}")
            elif figure["min_cosine"] < bars.min_cosine:
                failures.append(f"{case}/{name} min cosine {figure['min_cosine']:.6f} < {bars.min_cosine}")
            if bars.mean_cosine is not None and figure["mean_cosine"] < bars.mean_cosine:
                failures.append(f"{case}/{name} mean cosine {figure['mean_cosine']:.6f} < {bars.mean_cosine}")
    if bars.max_abs is None and report.get("score_correlation", 1.0) < bars.min_cosine:
        found = report["score_correlation"]
        failures.append(f"batched/logits correlation of the scores {found:.6f} < {bars.min_cosine}")
    if not report["empty_row_finite"]:
        failures.append("a fully padded row is not finite")
    report["bars"] = dataclasses.asdict(bars)
    report["failures"] = failures
    report["passed"] = not failures


def compare(names: Sequence[str], expected: Sequence[dict[str, Array]], found: Sequence[dict[str, Array]]) -> Any:
    """Figures of every output over all samples.

    Raises:
        RuntimeFailure: an answer of another shape, or one that is not finite.
    """
    return {
        name: _figures(name, [(want[name], got[name]) for want, got in zip(expected, found, strict=True)])
        for name in names
    }


def _figures(name: str, pairs: Sequence[tuple[Array, Array]]) -> dict[str, Any]:
    for want, got in pairs:
        if want.shape != got.shape:
            raise RuntimeFailure(f"{name} has shape {got.shape} for one text, expected {want.shape}")
        require_finite(got, name)
    cosines = np.concatenate([_cosines(want, got) for want, got in pairs])
    return {
        "max_abs": max(_difference(want, got) for want, got in pairs),
        "min_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "p01_cosine": float(np.quantile(cosines, 0.01)),
    }


def _difference(want: Array, got: Array) -> float:
    return float((np.abs(want - got) / np.maximum(1.0, np.abs(want))).max(initial=0.0))


def _cosines(want: Array, got: Array) -> Array:
    """Cosines along the last axis; 1 where both vectors are zero, or where there is one number only."""
    if want.shape[-1] == 1:
        return np.array([1.0])  # the sign of one number is not a direction; max_abs judges it
    left, right = np.atleast_2d(want), np.atleast_2d(got).astype(np.float64)
    norms = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    dots = (left * right).sum(axis=-1)
    return np.where(norms > 1e-20, dots / np.maximum(norms, 1e-20), 1.0)


def _padded(
    engine: Engine, names: Sequence[str], samples: Sequence[Sample], expected: Sequence[dict[str, Array]]
) -> Any:
    """Feed ragged batches with extra padding on either side straight to the graph."""
    lengths = [len(sample.encoded) for sample in samples]
    order = sorted(range(len(samples)), key=lengths.__getitem__)
    # Texts that leave room for the most padding, unless the model is too short for that.
    roomy = [index for index in order if lengths[index] + max(_EXTRA_PADDING) <= engine.tokenizer.max_length]
    order = roomy or order
    chosen = order[:: max(1, len(order) // _PADDED_SAMPLES)]
    wants: list[dict[str, Array]] = []
    gots: list[dict[str, Array]] = []
    for side in ("right", "left"):
        for extra in _EXTRA_PADDING:
            longest = max(lengths[index] for index in chosen)
            length = min(longest + extra, engine.tokenizer.max_length)
            feeds, spans = _fill(engine, [samples[index] for index in chosen], length, side)
            values = engine.session.run(feeds, names)
            for row, (index, span) in enumerate(zip(chosen, spans, strict=True)):
                wants.append(expected[index])
                own = {name: span if name in engine.token_level else slice(None) for name in names}
                gots.append({name: values[name][row][own[name]] for name in names})
    return compare(names, wants, gots)


def _fill(engine: Engine, samples: Sequence[Sample], length: int, side: str) -> tuple[dict[str, Array], list[slice]]:
    shape = (len(samples), length)
    names = ("input_ids", "attention_mask", "token_type_ids", "pooling_mask")
    feeds = {name: np.zeros(shape, np.int64) for name in names}
    feeds["input_ids"][:] = engine.tokenizer.policy.pad_token_id
    spans = []
    for row, sample in enumerate(samples):
        size = len(sample.encoded)
        span = slice(0, size) if side == "right" else slice(length - size, length)
        feeds["input_ids"][row, span] = sample.encoded.ids
        feeds["attention_mask"][row, span.start : span.stop - sample.encoded.unattended] = 1
        feeds["token_type_ids"][row, span] = sample.encoded.type_ids
        feeds["pooling_mask"][row, span] = [position >= sample.encoded.prompt_length for position in range(size)]
        spans.append(span)
    return feeds, spans


def _score_correlation(expected: Sequence[dict[str, Array]], found: Sequence[dict[str, Array]]) -> dict[str, float]:
    """One number has no direction: the scores of all inputs together are judged instead, by their correlation."""
    if expected[0].get("logits", np.zeros(2)).shape != (1,):
        return {}
    want, got = (np.concatenate([row["logits"] for row in rows]).astype(np.float64) for rows in (expected, found))
    return {"score_correlation": correlation(want, got)}


def _neighbour_overlap(name: str, expected: Sequence[dict[str, Array]], found: Sequence[dict[str, Array]]) -> float:
    """Mean overlap of each text's nearest texts under both sets of vectors (rank agreement)."""
    if expected[0][name].ndim != 1 or len(expected) <= _NEIGHBOURS:
        return 1.0
    want, got = (_nearest(np.stack([row[name] for row in rows])) for rows in (expected, found))
    return float(np.mean([len(set(a) & set(b)) / _NEIGHBOURS for a, b in zip(want, got, strict=True)]))


def _nearest(vectors: Array) -> Array:
    # Row by row: all differences at once would be gigabytes for vectors as wide as a vocabulary.
    distances = np.stack([np.linalg.norm(vectors - row, axis=-1) for row in vectors])
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)[:, :_NEIGHBOURS]


def _empty_row_is_finite(engine: Engine, names: Sequence[str]) -> bool:
    """A batch padded to a bucket holds rows without a single token; they must not be NaN."""
    pad = engine.tokenizer.policy.pad_token_id
    feeds = {
        "input_ids": np.full((2, 4), pad, np.int64),
        "attention_mask": np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.int64),
        "token_type_ids": np.zeros((2, 4), np.int64),
        "pooling_mask": np.array([[0, 1, 1, 1], [0, 0, 0, 0]], np.int64),
    }
    values = engine.session.run(feeds, names)
    return all(bool(np.isfinite(value).all()) for value in values.values())
