"""Engines beside a bundle's graphs: which graph, for which GPU, whether there is one already, and writing it whole."""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...poolers.errors import ConfigError
from ...runtime.engines.cuda import Gpu, find_gpu, load_cuda
from ...runtime.engines.library import LIBRARIES, Loaded, load_library
from ...runtime.engines.profiles import Profile, auto_profiles, check_profiles
from ...runtime.engines.record import (
    FOLDER,
    FORMAT,
    EngineKey,
    EngineRecord,
    graph_hashes,
    read_engine_record,
    read_plan,
    this_platform,
)
from ...runtime.engines.validity import header_problems
from ...runtime.errors import InputError, ProviderError
from ...runtime.files import replacing
from ...runtime.manifest import FileInfo, GraphInfo, Manifest, Precision, TensorInfo, existing_precision
from ..errors import ExportError
from .network import Order, Plan, build_plan
from .options import NEWEST_OPSET, PRECISIONS, EngineOptions

if TYPE_CHECKING:
    from ..reporting import Reporter

NO_TOWERS = "a model with an image tower has no engine: its two graphs would need two"


@dataclass(frozen=True)
class Built:
    """An engine beside the graphs; ``reused`` where it was there already."""

    record: EngineRecord
    reused: bool


def require_buildable(options: EngineOptions) -> None:
    """Refuse, before any work, what cannot be built on this machine.

    Raises:
        MissingExtraError, ProviderError: no library, or no GPU where it needs one.
    """
    library = load_library(_target(options))
    _gpu(library)


def chosen_profiles(options: EngineOptions, max_length: int) -> tuple[Profile, ...]:
    """The profiles asked for, or the automatic ones.

    Raises:
        ConfigError: they do not fit the model.
    """
    profiles = options.profiles or auto_profiles(max_length)
    try:
        check_profiles(profiles, max_length)
    except InputError as error:
        raise ConfigError(f"--profiles: {error}") from error
    return profiles


def build_engine(
    folder: Path,
    manifest: Manifest,
    precision: Precision,
    options: EngineOptions,
    show: Reporter,
    *,
    force: bool = False,
) -> Built:
    """Build the engine of one graph, unless the one that is there is the same.

    Args:
        folder: bundle folder.
        manifest: its manifest.
        precision: which graph.
        options: what the engine is to be.
        show: shows the step.
        force: build it again.

    Raises:
        MissingExtraError, ProviderError: no library, or no GPU where it needs one.
        ConfigError: profiles that do not fit the model, or a graph no engine is made of.
        ExportError: TensorRT refuses the graph, or the disk refused.
    """
    graph = _graph(folder, manifest, precision)
    profiles = chosen_profiles(options, manifest.tokenizer.max_length)
    library = load_library(_target(options))
    key = _key(library, graph, precision, profiles, options)
    there = _existing(folder, key)
    if there is not None and not force:
        return Built(there, reused=True)
    order = Order(
        graph=folder / graph.files[0].path,
        profiles=profiles,
        workspace=key.workspace,
        compute_capabilities=options.compute_capability,
        timing_cache=Path(options.timing_cache) if options.timing_cache else None,
        version_compatible=key.version_compatible,
        hardware_compatible=key.hardware_compatible,
    )
    started = time.monotonic()
    with show.step(f"Building the {library.about.title} engine in {precision}"):
        plan = build_plan(library, order)
        _require_signature(plan, graph, library)
        if problems := header_problems(library, plan.data):
            raise ExportError(f"{library.title} built an engine that it refuses itself: {', '.join(problems)}")
        record = _write(folder, key, plan, time.monotonic() - started)
    for note in plan.notes:
        show.note(f"Note: {note}")
    return Built(record, reused=False)


def _key(
    library: Loaded, graph: GraphInfo, precision: Precision, profiles: tuple[Profile, ...], options: EngineOptions
) -> EngineKey:
    gpu = _gpu(library)
    return EngineKey(
        target=library.about.target,
        precision=precision,
        graph=graph_hashes(graph),
        library_version=library.version,
        compute_capabilities=(gpu.capability,) if gpu else options.compute_capability,
        gpu=gpu.name if gpu else "",
        platform=this_platform(),
        profiles=profiles,
        workspace=options.workspace,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
    )


def _target(options: EngineOptions) -> str:
    if options.target is None:
        raise ConfigError(f"no target; expected one of {', '.join(LIBRARIES)}")
    return options.target


def _gpu(library: Loaded) -> Gpu | None:
    """The GPU that the library builds for; ``None`` where it needs none."""
    if library.about.names_gpus:
        return None
    try:
        return find_gpu(load_cuda(library.about.target))
    except ProviderError as error:
        raise ProviderError(
            f"{library.about.title} builds on the GPU that it builds for: {error}; --target tensorrt-rtx needs none"
        ) from error


def _graph(folder: Path, manifest: Manifest, precision: Precision) -> GraphInfo:
    if manifest.image is not None:
        raise ConfigError(NO_TOWERS)
    if precision not in PRECISIONS:
        raise ConfigError(f"an engine is made in {', '.join(PRECISIONS)}, got {precision}")
    graph = manifest.graphs[existing_precision(manifest.graphs, precision, str(folder))]
    if graph.operators:
        raise ConfigError(
            f"{graph.files[0].path} has operators outside the ONNX standard ({', '.join(graph.operators)}), which "
            "TensorRT does not read; export the model itself"
        )
    if graph.opset > NEWEST_OPSET:
        raise ConfigError(
            f"an engine is made of opset {NEWEST_OPSET} or lower, the graph has {graph.opset}; use --opset 20"
        )
    return graph


def _existing(folder: Path, key: EngineKey) -> EngineRecord | None:
    record = read_engine_record(folder / FOLDER / f"{key.name}.json")
    return record if record is not None and record.key == key and read_plan(folder, record) is not None else None


def _require_signature(plan: Plan, graph: GraphInfo, library: Loaded) -> None:
    """A binding that was renamed or dropped would be fed or read wrongly."""
    for kind, found, wanted in (("inputs", plan.inputs, graph.inputs), ("outputs", plan.outputs, graph.outputs)):
        if _names(found) != _names(wanted):
            raise ExportError(
                f"{library.title} made an engine with {kind} {_names(found)}, the graph has {_names(wanted)}"
            )


def _names(tensors: Sequence[TensorInfo]) -> str:
    return ", ".join(f"{item.name} {item.dtype}" for item in tensors)


def _write(folder: Path, key: EngineKey, plan: Plan, seconds: float) -> EngineRecord:
    """Write the engine, then its description, each whole or not at all; the description names the engine's hash."""
    target = folder / FOLDER / f"{key.name}.plan"
    digest = hashlib.sha256(plan.data).hexdigest()
    record = EngineRecord(
        format=FORMAT,
        key=key,
        inputs=plan.inputs,
        outputs=plan.outputs,
        plan=FileInfo(path=f"{FOLDER}/{target.name}", size=len(plan.data), sha256=digest),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
    )
    try:
        target.parent.mkdir(exist_ok=True)
        with replacing(target) as stream:
            stream.write(plan.data)
        with replacing(target.with_suffix(".json")) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror}") from error
    return record
