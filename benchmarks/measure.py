"""Measure a workload: every contender once untimed, then rounds in which each has its turn, so noise hits all alike."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.progress import Progress

from . import machine, models, stats
from .contenders import ENVIRONMENTS, PROBE, REFERENCE, ROOT, Contender, named
from .process import ContenderError, Process
from .workloads import Prepared, Workload, prepare


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is measured.

    Attributes:
        threads: of every contender; each may run on as many cores.
        rounds: turns of each contender.
        searched: texts that a batch size is chosen by; 0 takes the second one without looking.
        startups: fresh processes that start-up is measured with, as long as they take half a minute at most.
        calls: pairs of a number of texts, and how many calls of so many texts are timed in a round.
        probe_seconds: of the roofline probe, a round.
    """

    threads: int
    rounds: int = 5
    searched: int = 128
    startups: int = 3
    calls: tuple[tuple[int, int], ...] = ((1, 20), (8, 4), (32, 2))
    probe_seconds: float = 4.0


Record = dict[str, Any]


class Course:
    """One workload: what was prepared, and the records of the contenders so far."""

    def __init__(self, workload: Workload, prepared: Prepared, settings: Settings, work: Path) -> None:
        self.workload, self.prepared, self.settings, self.work = workload, prepared, settings, work
        self.records: dict[str, Record] = {}
        self._rerank = prepared.opened["task"] == "rerank"

    def enter(self, contender: Contender) -> Record:
        """Begin the record of a contender, with the reason if it cannot take part."""
        record = self.records[contender.name] = {
            "role": contender.role,
            "precision": contender.precision,
            "environment": contender.environment,
            "startup_s": [],
            "seconds": [],
        }
        if reason := contender.missing():
            record["unavailable"] = reason
        elif self.prepared.opened["task"] not in contender.tasks:
            record["unavailable"] = f"cannot {self.prepared.opened['task']}"
        return record

    def crowded(self) -> str | None:
        """Why there is no room for one more contender beside those that run; ``None`` if there is."""
        needed, free = models.MODELS[self.workload.model].gigabytes, machine.available_gb()
        return None if free >= needed else f"not enough memory: {needed:g} GB may be needed, {free:.1f} GB are free"

    @contextmanager
    def kept(self, name: str) -> Iterator[Record]:
        """A contender that fails is out, with what it said; the others go on."""
        try:
            yield self.records[name]
        except ContenderError as error:
            # Without the checkout's own place: the words go into a page.
            self.records[name]["unavailable"] = str(error).replace(f"{ROOT}{os.sep}", "")

    def available(self, name: str) -> bool:
        return "unavailable" not in self.records[name]

    def start(self, contender: Contender) -> Process:
        """Start a contender, open the model and get a first answer; the time that took is a start-up."""
        python = ENVIRONMENTS[contender.environment][0]
        name, threads = contender.name.replace(" ", "-"), self.settings.threads
        process = Process(python, self.work, name=name, threads=threads)
        try:
            how = {"threads": threads, "precision": contender.precision, "options": dict(contender.options)}
            reply = process.ask("open", engine=contender.engine, opened={**self.prepared.opened, **how})
            record = self.records[contender.name]
            record["versions"] = reply["versions"]
            process.ask("load", path=str(self.prepared.path))
            # The batch size of a first start is not known yet, and a first answer does not depend on it.
            first = record.get("batch_size") or _middle(contender.batch_sizes)
            process.ask("run", batch_size=first, first=1 + self._rerank)
            record["startup_s"].append(time.perf_counter() - process.began)
        except ContenderError:
            process.close()
            raise
        return process

    def search(self, contender: Contender, process: Process) -> None:
        """Choose the batch size that is fastest on the first texts."""
        record, sizes = self.records[contender.name], contender.batch_sizes
        record["batch_size"], record["searched"] = _middle(sizes), {}
        number = min(self.settings.searched, max(32, len(self.prepared.texts) // 4))
        if not self.settings.searched or len(sizes) < 2:
            return
        for size in sizes:
            for _ in range(2):  # at first, shapes are met for the first time
                reply = process.ask("run", batch_size=size, first=number)
            record["searched"][str(size)] = reply["texts"] / reply["seconds"]
        record["batch_size"] = max(sizes, key=lambda size: record["searched"][str(size)])

    def answers(self, name: str, process: Process) -> np.ndarray:
        """All answers, untimed: it is the warm-up too."""
        with TemporaryDirectory(dir=self.work) as folder:
            path = Path(folder, "answers.npy")
            process.ask("run", batch_size=self.records[name]["batch_size"], save=str(path))
            return np.load(path)

    def judge(self, name: str, found: np.ndarray, reference: np.ndarray) -> None:
        compare = stats.rank_fidelity if self._rerank else stats.fidelity
        try:
            self.records[name]["fidelity"] = compare(found, reference)
        except ValueError as error:
            self.records[name]["unavailable"] = str(error)

    def turn(self, name: str, process: Process) -> None:
        """One timed run over all texts."""
        with self.kept(name) as record:
            record["seconds"].append(process.ask("run", batch_size=record["batch_size"])["seconds"])

    def calls(self, name: str, process: Process, number: int) -> None:
        """Single calls of every size; the same texts for every contender."""
        with self.kept(name) as record:
            times = record.setdefault("calls_ms", {})
            for size, count in self.settings.calls:
                rng = random.Random(f"{number} {size}")
                texts = range(len(self.prepared.texts))
                indices = [rng.sample(texts, min(size, len(texts))) for _ in range(count)]
                reply = process.ask("calls", indices=indices, batch_size=record["batch_size"])
                times.setdefault(str(size), []).append(reply["ms"])

    def finish(self, name: str, process: Process) -> None:
        """Peak of memory, then (of ours) whether an answer depends on the texts beside it."""
        with self.kept(name) as record:
            record["peak_rss_mb"] = process.peak_mb()
            if record["role"] == "ours":
                reply = process.ask("invariance", number=64, batch_size=None)
                record["batch_difference"] = reply["largest_difference"]


def _middle(sizes: Sequence[int]) -> int | None:
    return sizes[len(sizes) // 2] if sizes else None


def measure(
    workload: Workload,
    contenders: Sequence[Contender],
    settings: Settings,
    work: Path,
    progress: Progress,
    *,
    number: int,
) -> Record:
    """Measure a workload.

    Raises:
        ContenderError: the reference has no answers, so there is nothing to compare with.
    """
    task = progress.add_task(f"{workload.title}: model and texts", total=None)
    course = Course(workload, prepare(workload, work, number=number), settings, work)
    for contender in contenders:
        course.enter(contender)
    steps = len(contenders) * (1 + 2 * workload.main + settings.rounds * (1 + workload.main))
    progress.update(task, total=steps)

    def tell(what: str, name: str) -> None:
        progress.update(task, advance=1, description=f"{workload.title}: {what} {name}")

    truth = _reference(course)
    if workload.main:
        _search_apart(course, contenders, tell)
    with ExitStack() as stack:
        running = _open_all(course, contenders, stack, truth, tell)
        probe = stack.enter_context(_probe(course))
        peaks = [_round(course, running, probe, number, tell) for number in range(settings.rounds)]
        for name, process in running.items() if workload.main else ():
            course.finish(name, process)
    if workload.main:
        _more_startups(course, contenders, tell)
    progress.update(task, completed=steps, description=workload.title)
    return {
        "title": workload.title,
        "model": workload.model,
        "unit": workload.unit,
        "corpus": course.prepared.facts,
        "texts": len(course.prepared.tokens),
        "tokens": sum(course.prepared.tokens),
        "multiply_adds_per_token": models.multiply_adds(workload.model, work),
        "peak_gflops": peaks,
        "contenders": course.records,
    }


def _reference(course: Course) -> np.ndarray:
    """Answers of the reference, in a process of its own: it may not be among the contenders."""
    (contender,) = named((REFERENCE,))
    apart = Course(course.workload, course.prepared, course.settings, course.work)
    if reason := apart.enter(contender).get("unavailable"):
        raise ContenderError(f"{REFERENCE}, which all are compared with, cannot run: {reason}")
    with apart.start(contender) as process:
        apart.records[contender.name]["batch_size"] = _middle(contender.batch_sizes)
        return apart.answers(contender.name, process)


def _search_apart(course: Course, contenders: Sequence[Contender], tell: Callable[[str, str], None]) -> None:
    """Choose batch sizes in processes of their own: what a large batch takes of memory is gone with them."""
    for contender in contenders:
        tell("batch size,", contender.name)
        if course.available(contender.name) and course.settings.searched and contender.batch_sizes:
            with course.kept(contender.name), course.start(contender) as process:
                course.search(contender, process)


def _open_all(
    course: Course,
    contenders: Sequence[Contender],
    stack: ExitStack,
    truth: np.ndarray,
    tell: Callable[[str, str], None],
) -> dict[str, Process]:
    running = {}
    for contender in contenders:
        tell("first pass,", contender.name)
        if not course.available(contender.name):
            continue
        if reason := course.crowded():
            course.records[contender.name]["unavailable"] = reason
            continue
        with course.kept(contender.name) as record:
            process = stack.enter_context(course.start(contender))
            if "batch_size" not in record:
                course.search(contender, process)
            course.judge(contender.name, course.answers(contender.name, process), truth)
            running[contender.name] = process
    return running


def _probe(course: Course) -> Process:
    process = Process(ENVIRONMENTS["own"][0], course.work, name="roofline", threads=course.settings.threads)
    opened = {**course.prepared.opened, "threads": course.settings.threads, "precision": "fp32", "options": {}}
    try:
        process.ask("open", engine=PROBE.engine, opened=opened)
    except ContenderError:
        process.close()
        raise
    return process


def _round(
    course: Course, running: dict[str, Process], probe: Process, number: int, tell: Callable[[str, str], None]
) -> dict[str, dict[str, float]]:
    """Every contender's turn, beginning with another one each time; the host's peak by precision and library."""
    names = list(running)
    shift = number % max(1, len(names))
    peaks: dict[str, dict[str, float]] = probe.ask("probe", seconds=course.settings.probe_seconds)["gflops"]
    for name in names[shift:] + names[:shift]:
        tell(f"round {number + 1},", name)
        if course.available(name):
            course.turn(name, running[name])
    if course.workload.main:
        for name in names[shift:] + names[:shift]:
            tell(f"single calls {number + 1},", name)
            if course.available(name):
                course.calls(name, running[name], number)
    return peaks


def _more_startups(course: Course, contenders: Sequence[Contender], tell: Callable[[str, str], None]) -> None:
    for contender in contenders:
        tell("start-up,", contender.name)
        times = course.records[contender.name]["startup_s"]
        while course.available(contender.name) and len(times) < course.settings.startups and sum(times) < 30:
            with course.kept(contender.name), course.start(contender):
                pass
