"""The file beside an engine: what it was built from and for, and whether it may run here.

A bundle is portable, an engine is local: it holds kernels of one library version and of one kind of GPU. So it is used
only where everything that decides is the same, and refused with the reason else.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import ProviderError
from ..manifest import FileInfo, GraphInfo, Precision, TensorInfo
from .library import LIBRARIES, Target
from .profiles import Profile

FORMAT = 1
FOLDER = "engines"
# What an engine for RTX without named GPUs runs on (TensorRT for RTX: 8.0 and later), and AMPERE_PLUS.
_SPANNING_FROM = (8, 0)


@dataclass(frozen=True, kw_only=True)
class EngineKey:
    """Everything that decides what an engine is; another key is another engine.

    Attributes:
        graph: sha256 of the graph's files, the model first.
        library_version: of the library of ``target``.
        compute_capabilities: such as ``8.9``, of the GPUs it is for; empty where the library spans them by itself.
        gpu: name of the GPU it was built on; empty where there was none.
        platform: system and processor.
        workspace: most bytes of scratch memory; 0 for the library's own limit.
    """

    target: Target
    precision: Precision
    graph: tuple[str, ...]
    library_version: str
    compute_capabilities: tuple[str, ...]
    gpu: str
    platform: str
    profiles: tuple[Profile, ...]
    workspace: int = 0
    version_compatible: bool = False
    hardware_compatible: bool = False

    @property
    def name(self) -> str:
        """File stem: one engine for each target, precision and set of GPUs."""
        gpus = "-".join("sm" + item.replace(".", "") for item in self.compute_capabilities)
        return f"{self.target}_{self.precision}_{gpus or 'sm80plus'}"


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """The JSON beside an engine.

    Attributes:
        inputs, outputs: the engine's bindings, in its order.
        plan: the engine's file.
        created: when, in UTC.
        seconds: how long the build took.
    """

    format: int
    key: EngineKey
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    plan: FileInfo
    created: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Here:
    """What an engine meets where it is to run.

    Attributes:
        version: of the library.
        capability: of the GPU, as ``8.9``.
    """

    version: str
    capability: str


def graph_hashes(graph: GraphInfo) -> tuple[str, ...]:
    """What ``EngineKey.graph`` holds."""
    return tuple(file.sha256 for file in graph.files)


def this_platform() -> str:
    """What ``EngineKey.platform`` holds."""
    return f"{platform.system()} {platform.machine()}"


def read_engine_record(path: Path) -> EngineRecord | None:
    """Read the JSON beside an engine; one that is damaged or of another format describes none."""
    try:
        record = msgspec.json.decode(path.read_bytes(), type=EngineRecord)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record if record.format == FORMAT else None


def read_plan(folder: Path, record: EngineRecord) -> bytes | None:
    """The engine itself; ``None`` where the file is not the one that was built (missing, cut short, changed)."""
    path = folder / FOLDER / Path(record.plan.path).name  # by its name alone: a record cannot point elsewhere
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == record.plan.sha256 else None


def why_not(key: EngineKey, graph: GraphInfo, here: Here) -> str | None:
    """Say why an engine may not run here; ``None`` where it may."""
    if key.graph != graph_hashes(graph):
        return "it was built from another graph"
    if key.platform != this_platform():
        return f"it was built for {key.platform}, this is {this_platform()}"
    if not _same_version(key, here.version):
        return f"it was built with version {key.library_version}, here is {here.version}"
    if not _takes_gpu(key, here.capability):
        built = ", ".join(key.compute_capabilities) or "8.0 and newer"
        return f"it was built for compute capability {built}, this GPU has {here.capability}"
    return None


def find_engine(folder: Path, target: Target, precision: Precision, graph: GraphInfo, here: Here) -> EngineRecord:
    """Find the engine that may run here among those beside a bundle's graphs.

    Raises:
        ProviderError: there is none, or each is refused; the message says why, and how to build one.
    """
    refused: list[str] = []
    for path in sorted((folder / FOLDER).glob(f"{target}_{precision}_*.json")):
        record = read_engine_record(path)
        reason = why_not(record.key, graph, here) if record else "its description is damaged"
        if record is not None and reason is None:
            return record
        refused.append(f"{FOLDER}/{path.stem}: {reason}")
    raise ProviderError(_none_usable(folder, target, precision, refused))


def _none_usable(folder: Path, target: Target, precision: Precision, refused: Sequence[str]) -> str:
    build = f"pool-export engine {folder} --target {target} --precision {precision}"
    if refused:
        return f"device {target!r}: no {precision} engine that may run here ({'; '.join(refused)}); build one: {build}"
    others = sorted({path.stem.split("_")[1] for path in (folder / FOLDER).glob(f"{target}_*.json")})
    there = f" (there are: {', '.join(others)})" if others else ""
    return f"device {target!r}: the bundle has no {precision} engine{there}; build one: {build}"


def _same_version(key: EngineKey, version: str) -> bool:
    if not key.version_compatible or not LIBRARIES[key.target].spans_versions:
        return key.library_version == version
    built, found = _numbers(key.library_version), _numbers(version)
    return built[:1] == found[:1] and built <= found


def _takes_gpu(key: EngineKey, capability: str) -> bool:
    if capability in key.compute_capabilities:
        return True
    spans = key.hardware_compatible or not key.compute_capabilities
    return spans and _numbers(capability) >= _SPANNING_FROM


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
