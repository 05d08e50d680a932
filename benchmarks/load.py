"""64 clients against `pool-export serve`, in turn with the offline engine on the same texts. Fails on a wrong answer.

Loopback only, and bounded in time. `make load` runs it, and load_report.py judges what it wrote.
"""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import urlsplit

import click
import numpy as np
import orjson
import uvloop
from rich.console import Console
from rich.progress import Progress

from pool_export import LLM
from pool_export.benchmarks.machine import about, cpu_seconds, rss_mb
from pool_export.models_zoo.texts import sentences

# Texts of a request and how often such a request comes. `score` is one text against eight.
MIX: tuple[tuple[str, int, float], ...] = (
    ("embed", 1, 0.80),
    ("embed", 4, 0.12),
    ("embed", 16, 0.04),
    ("score", 8, 0.04),
)
MAX_WORDS = 140
PARSED_EVERY = 50  # answers compared with the offline engine's; all are checked for status and completeness
TOLERANCE = 1e-4
# Of a turn of the server, what is left out of its throughput: 64 first answers are on their way.
RAMP = 0.2


@dataclass(frozen=True)
class Ask:
    """One request: its bytes on the wire, and which texts it holds (of a score the first is the query)."""

    kind: str
    wire: bytes
    texts: tuple[int, ...]


@dataclass
class Log:
    """What was seen. Times are seconds of load, so pauses for the offline engine do not count."""

    latencies: list[float] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    answered: list[tuple[float, int]] = field(default_factory=list)
    checked: int = 0
    worst: float = 0.0
    rss: list[tuple[float, float]] = field(default_factory=list)


def make_texts(rng: random.Random, number: int) -> list[str]:
    """English texts of one to a dozen sentences, mostly short; with MiniLM 46 tokens on average, 190 at most."""
    known = sentences()

    def one() -> str:
        count = max(1, int(rng.lognormvariate(0.95, 0.75)))
        words = " ".join(rng.choice(known) for _ in range(count)).split()
        return " ".join(words[:MAX_WORDS])

    return [one() for _ in range(number)]


def make_asks(texts: list[str], rng: random.Random, host: str, model: str, routes: set[str]) -> list[Ask]:
    mix = [entry for entry in MIX if entry[0] in routes]
    asks = []
    for kind, count, _ in rng.choices(mix, [share for *_, share in mix], k=2 * len(texts)):
        if kind == "embed":
            chosen = tuple(rng.randrange(len(texts)) for _ in range(count))
            path, body = "/v1/embeddings", {"model": model, "input": [texts[index] for index in chosen]}
        else:
            chosen = tuple(rng.randrange(len(texts)) for _ in range(count + 1))
            path = "/v1/score"
            body = {"model": model, "text_1": texts[chosen[0]], "text_2": [texts[index] for index in chosen[1:]]}
        asks.append(Ask(f"{kind} {count}", post(path, host, body), chosen))
    return asks


def post(path: str, host: str, body: Any) -> bytes:
    data = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


async def exchange(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], wire: bytes) -> tuple[int, bytes]:
    reader, writer = streams
    writer.write(wire)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head[9:12]), body


async def client(address: tuple[str, int], asks: Iterator[Ask], until: float, log: Log, truth: np.ndarray) -> None:
    """One keep-alive connection that sends the next request as soon as the last is answered."""
    streams = await asyncio.open_connection(*address, limit=2**22)
    while time.perf_counter() < until:
        ask = next(asks)
        started = time.perf_counter()
        status, body = await exchange(streams, ask.wire)
        log.statuses[status] += 1
        if status == 429:
            await asyncio.sleep(0.1)
            continue
        if status != 200 or not body.endswith(b"}"):
            log.faults.append(f"{ask.kind}: {status} {body[:200]!r}")
            continue
        log.latencies.append(time.perf_counter() - started)
        log.kinds.append(ask.kind)
        log.answered.append((time.perf_counter(), len(ask.texts)))
        if len(log.latencies) % PARSED_EVERY == 1:
            check(ask, body, log, truth)
    streams[1].close()


def check(ask: Ask, body: bytes, log: Log, truth: np.ndarray) -> None:
    data = orjson.loads(body)["data"]
    if ask.kind.startswith("embed"):
        found, expected = np.array([item["embedding"] for item in data]), truth[list(ask.texts)]
    else:
        found = np.array([item["score"] for item in data])
        expected = truth[list(ask.texts[1:])] @ truth[ask.texts[0]]
    error = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
    log.checked += 1
    log.worst = max(log.worst, error)
    if not error <= TOLERANCE:
        log.faults.append(f"{ask.kind}: off by {error:g} from the offline engine")


async def drive(
    address: tuple[str, int], asks: Iterator[Ask], clients: int, seconds: float, log: Log, truth: np.ndarray, pid: int
) -> dict[str, float]:
    """Load the server for some seconds."""
    before, cpu, own = len(log.answered), cpu_seconds(pid), time.process_time()
    base = log.rss[-1][0] if log.rss else 0.0
    started = time.perf_counter()
    work = [asyncio.create_task(client(address, asks, started + seconds, log, truth)) for _ in range(clients)]
    while any(not task.done() for task in work):
        log.rss.append((base + time.perf_counter() - started, rss_mb(pid)))
        await asyncio.wait(work, timeout=0.25, return_when=asyncio.ALL_COMPLETED)
    for task in work:
        await task
    # Neither the start, when every client tokenizes at once, nor the end, when few are left.
    first, last = started + RAMP * seconds, started + seconds
    texts = sum(count for _, count in log.answered[before:]) or 1
    return {
        "texts_per_s": sum(count for at, count in log.answered[before:] if first <= at < last) / (last - first),
        "cpu_ms_per_text": 1000 * (cpu_seconds(pid) - cpu) / texts,
        "client_cpu_ms_per_text": 1000 * (time.process_time() - own) / texts,
    }


def offline(llm: LLM, texts: list[str], seconds: float) -> dict[str, float]:
    """`LLM.embed`, 512 texts at a time."""
    done, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        start = done % len(texts)
        done += len(llm.embed(texts[start : start + 512], use_tqdm=False))
    elapsed = time.perf_counter() - started
    return {"texts_per_s": done / elapsed, "cpu_ms_per_text": 1000 * (time.process_time() - cpu) / done}


@contextmanager
def server(bundle: str, flags: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """`pool-export serve` on a free port: its address and process id."""
    command = [sys.executable, "-m", "pool_export", "serve", bundle, "--port", "0", *flags]
    with NamedTemporaryFile("w+", suffix=".log") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            while not (found := re.search(r"serving on (http://\S+)", Path(log.name).read_text())):
                if process.poll() is not None:
                    raise click.ClickException(f"the server did not start: {Path(log.name).read_text()}")
                time.sleep(0.05)
            yield found[1], process.pid
        finally:
            process.terminate()
            process.wait(timeout=60)


async def model_and_routes(address: tuple[str, int], host: str, model: str | None) -> tuple[str, set[str]]:
    """What the server calls its (first) model, and what of the mix it answers."""
    streams = await asyncio.open_connection(*address)
    _, body = await exchange(streams, f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    name = model or orjson.loads(body)["data"][0]["id"]
    status, _ = await exchange(streams, post("/v1/score", host, {"model": name, "text_1": "a", "text_2": ["b"]}))
    return name, {"embed", "score"} if status == 200 else {"embed"}


def measure(
    llm: LLM, url: str, pid: int, *, model: str | None, clients: int, seconds: float, rounds: int, texts: int
) -> dict[str, Any]:
    """The offline engine and the server in turn; the offline engine takes half as long."""
    rng = random.Random(0)
    pool = make_texts(rng, texts)
    outputs = llm.embed(pool, use_tqdm=False)
    truth = np.array([item.outputs.embedding for item in outputs], np.float32)
    lengths = [len(item.prompt_token_ids) for item in outputs]
    address = (urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80)
    host = urlsplit(url).netloc
    asks = make_asks(pool, rng, host, *uvloop.run(model_and_routes(address, host, model)))
    order = iter(lambda: rng.choice(asks), None)
    log, engine, served, requests, turn = Log(), [], [], [], seconds / rounds
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("offline, server, …", total=2 * rounds + 1)
        for number in range(rounds):
            engine.append(offline(llm, pool, turn / 2))
            progress.advance(task)
            known = len(log.latencies)
            served.append(uvloop.run(drive(address, order, clients, turn, log, truth, pid)))
            new = zip(log.kinds[known:], log.latencies[known:], strict=True)
            requests += [(number, kind, 1000 * wall) for kind, wall in new]
            progress.advance(task)
        engine.append(offline(llm, pool, turn / 2))
        progress.advance(task)
    return {
        "clients": clients,
        "seconds": seconds,
        "tokens": {"mean": sum(lengths) / len(lengths), "max": max(lengths)},
        "offline": engine,
        "served": served,
        "requests": requests,
        "statuses": {str(status): count for status, count in log.statuses.items()},
        "compared": {"answers": log.checked, "largest_error": log.worst},
        "faults": log.faults,
        "rss_mb": log.rss,
    }


@click.command()
@click.argument("bundle")
@click.option("--url", help="A server that runs already; its memory is not looked at.")
@click.option("--model", help="What that server calls the bundle.")
@click.option("--clients", default=64, show_default=True, help="Connections, each with one request at a time.")
@click.option("--seconds", default=60.0, show_default=True, help="Load in all; the offline engine takes half more.")
@click.option("--rounds", default=4, show_default=True, help="Turns of the server.")
@click.option("--texts", default=1024, show_default=True, help="Different texts.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write what was measured to this file.")
@click.option("--serve", "flags", multiple=True, help="A flag for the server, as --serve=--threads=2.")
def main(bundle: str, url: str | None, target: Path | None, flags: tuple[str, ...], **how: Any) -> None:
    """Load a server of BUNDLE; exit with 1 when an answer was wrong (429 is not)."""
    with nullcontext((url, 0)) if url else server(bundle, flags) as (address, pid):
        result = measure(LLM(bundle), address, pid, **how)
    names = ("pool-export", "onnxruntime", "numpy", "uvicorn", "starlette", "uvloop")
    if target is not None:
        target.write_bytes(orjson.dumps({**about(names), **result}))
    click.echo(f"{len(result['requests'])} answered, {result['compared']}, statuses {result['statuses']}")
    for fault in result["faults"][:20]:
        click.echo(fault, err=True)
    raise SystemExit(1 if result["faults"] else 0)


if __name__ == "__main__":
    main()
