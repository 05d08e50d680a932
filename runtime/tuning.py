"""Measure where a bundle runs fastest on this host: backend × precision, then streams × batch size.

Candidates take turns, so that whatever else the machine does hits all of them alike; the median of the turns counts.
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from ..poolers.errors import PoolExportError
from .admission import admit, check
from .backends.providers import available
from .bundle import Bundle
from .cache import write_record
from .config import RuntimeConfig
from .engine import Engine
from .errors import InputError
from .prompts import Prompt
from .system import available_cpus
from .tokens import Encoded
from .tuned import Tuned, tuned_path

# Padded tokens a batch for each thread of a stream; 512 is the default on a CPU.
BUDGETS = (256, 512, 1024, 2048)
_TURNS = 3
# Combinations slower than this beside the fastest are not tried with other batches.
_NEAR = 0.8

Show = Callable[[str], object]


@dataclass
class Candidate:
    """One way to run the bundle, and what was measured of it.

    Attributes:
        config: the options that make it.
        backend: library and version.
        rates: tokens a second, one number a turn.
        min_cosine, mean_cosine: to the reference, on the golden vectors.
        problem: why it is out, if it is.
    """

    config: RuntimeConfig
    backend: str = ""
    rates: list[float] = field(default_factory=list)
    min_cosine: float = 0.0
    mean_cosine: float = 0.0
    problem: str = ""

    @property
    def rate(self) -> float:
        """Median tokens a second; 0 where nothing was measured."""
        return median(self.rates) if self.rates else 0.0

    @property
    def name(self) -> str:
        """Its options, in words."""
        given = self.config
        streams = f", {given.streams} stream(s)" if given.streams else ""
        tokens = f", {given.max_batch_tokens} tokens a batch" if given.max_batch_tokens else ""
        return f"{given.device} {given.precision}{streams}{tokens}"


def tune(
    bundle: Bundle,
    texts: Sequence[str],
    *,
    min_cosine: float = 0.999,
    seconds: float = 45.0,
    threads: int = 0,
    show: Show = lambda words: None,
) -> tuple[Tuned, list[Candidate]]:
    """Measure and store the choice.

    Args:
        bundle: what to run.
        texts: texts like those that will come; longer ones than the model takes are cut.
        min_cosine: least cosine to the reference, on the golden vectors, of a combination that may be chosen.
        seconds: time for measuring; loading the graphs comes on top.
        threads: compute threads; 0 takes the cores this process may use.
        show: told what is being measured.

    Returns:
        What was stored, and every candidate, the fastest first.

    Raises:
        InputError: no texts, or no combination that is close enough to the reference.
    """
    if not texts:
        raise InputError("tune needs texts to measure with, got none")
    first = [Candidate(config) for config in combinations(bundle, threads)]
    _measure(bundle, first, texts, seconds / 2, min_cosine, show)
    fastest = max(candidate.rate for candidate in first)
    if not fastest:
        reasons = "; ".join(f"{candidate.name}: {candidate.problem}" for candidate in first)
        raise InputError(f"no combination reaches a cosine of {min_cosine} to the reference ({reasons})")
    near = [candidate.config for candidate in first if candidate.rate >= _NEAR * fastest]
    second = [Candidate(config) for config in itertools.chain.from_iterable(map(variants, near))]
    _measure(bundle, second, texts, seconds / 2, min_cosine, show)
    ranked = sorted([*first, *second], key=lambda candidate: -candidate.rate)
    best = next(candidate for candidate in ranked if candidate.config.max_batch_tokens and candidate.rate)
    tuned = _record(best, threads or available_cpus())
    write_record(tuned_path(bundle), tuned)
    return tuned, ranked


def combinations(bundle: Bundle, threads: int = 0) -> list[RuntimeConfig]:
    """Every device and precision that may be able to run the bundle."""
    graphs = [name for name in bundle.manifest.graphs if name != "bf16"]
    pairs = [("cpu", name) for name in graphs]
    if "fp32" in graphs:
        pairs += [("openvino", "fp32"), ("openvino", "bf16")]
    # Not OpenVINO in int8: it adds up in another order for another shape, a number near the middle of two steps then
    # falls on the other one, and a text depends on its batch by 3e-3 (in onnxruntime by 6e-8).
    if available("cuda", required=False):
        pairs += [("cuda", name) for name in bundle.manifest.graphs]
    return [RuntimeConfig(device=device, precision=name, threads=threads) for device, name in pairs]


def variants(config: RuntimeConfig) -> list[RuntimeConfig]:
    """A combination with other streams and batches."""
    threads = config.threads or available_cpus()
    streams = (1,) if config.device == "cuda" else tuple(sorted({1, min(threads, 4)}))
    return [
        replace(config, streams=count, max_batch_tokens=budget * (-(-threads // count)))
        for count in streams
        for budget in BUDGETS
    ]


def _measure(
    bundle: Bundle, candidates: Sequence[Candidate], texts: Sequence[str], seconds: float, least: float, show: Show
) -> None:
    """Open every candidate, check it, and let them take turns."""
    opened = [(candidate, engine) for candidate in candidates if (engine := _open(bundle, candidate, least, show))]
    if not opened:
        return
    limit = opened[0][1].tokenizer.max_length
    inputs = opened[0][1].tokenizer.encode([Prompt(text=text) for text in texts], [limit] * len(texts))
    share = seconds / _TURNS / len(opened)
    samples = []
    for candidate, engine in opened:
        show(f"warming up {candidate.name}")
        least_tokens = 2 * engine.max_tokens * engine.streams
        _rate(engine, some(inputs, least_tokens))  # compiles and allocates
        speed = _rate(engine, some(inputs, least_tokens))
        samples.append(some(inputs, max(least_tokens, int(speed * share))))
    for turn in range(_TURNS):
        for (candidate, engine), sample in zip(opened, samples, strict=True):
            show(f"turn {turn + 1} of {_TURNS}: {candidate.name}")
            candidate.rates.append(_rate(engine, sample))


def some(inputs: Sequence[Encoded], tokens: int) -> list[Encoded]:
    """Inputs of about so many tokens, spread over all of them, over and over where there are too few."""
    average = sum(map(len, inputs)) / len(inputs)
    count = max(1, round(tokens / average))
    return [inputs[index * len(inputs) // count % len(inputs)] for index in range(count)]


def _open(bundle: Bundle, candidate: Candidate, least: float, show: Show) -> Engine | None:
    show(f"opening {candidate.name}")
    try:
        engine = Engine(bundle, candidate.config)
        candidate.backend = engine.session.backend.version
        admit(engine)
        found = check(engine)
    except PoolExportError as error:
        candidate.problem = str(error)
        return None
    candidate.min_cosine, candidate.mean_cosine = found.min_cosine, found.mean_cosine
    if found.min_cosine < least:
        candidate.problem = f"min cosine {found.min_cosine:.5f} is below {least}"
        return None
    return engine


def _rate(engine: Engine, inputs: Sequence[Encoded]) -> float:
    """Tokens a second of one call."""
    started = time.perf_counter()
    engine.run(inputs, engine.output_names[:1])
    return sum(map(len, inputs)) / (time.perf_counter() - started)


def _record(best: Candidate, threads: int) -> Tuned:
    return Tuned(
        device=best.config.device,
        precision=best.config.precision,
        streams=best.config.streams,
        max_batch_tokens=best.config.max_batch_tokens,
        threads=threads,
        backend=best.backend,
        tokens_per_second=round(best.rate, 1),
        min_cosine=best.min_cosine,
        date=datetime.date.today().isoformat(),
    )
