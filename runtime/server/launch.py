"""From names on a command line to a running server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..autoexport import bundle_for
from ..bundle import open_bundle
from ..config import RuntimeConfig
from ..engine import Engine
from ..memory import MemoryBudget
from ..options import from_env
from ..scheduling.scheduler import QueueLimits, Scheduler
from .app import make_state
from .config import ServerConfig
from .models import Registry, Served, display_name
from .serving import bind, serve


def launch(
    models: Sequence[str],
    server_options: Mapping[str, Any],
    runtime_options: Mapping[str, Any],
    reporter: Any,
    say: Callable[[str], object],
) -> None:
    """Serve until stopped.

    Args:
        models: bundles, checkpoints or Hub ids, each perhaps behind ``NAME=``.
        server_options: fields of ``ServerConfig`` that were given.
        runtime_options: fields of ``RuntimeConfig`` that were given.
        reporter: shows the steps of loading (``export.pipeline.Reporter``).
        say: tells the person at the terminal a line.

    Raises:
        InputError: a bad option, or an address that cannot be taken.
        BundleError, ProviderError: a model that cannot be loaded.
    """
    config, runtime = from_env(ServerConfig, **server_options), from_env(RuntimeConfig, **runtime_options)
    listener = bind(config.host, config.listen_port)
    try:
        memory = MemoryBudget.of(runtime.memory_limit)
        registry = Registry([_load(text, config, runtime, memory, reporter) for text in models])
    except BaseException:
        listener.close()
        raise
    host, port = listener.getsockname()[:2]
    for model in registry.models:
        session = model.engine.session
        say(f"{model.name}: {', '.join(model.spec.tasks)} on {session.device}, {session.precision}")
    say(f"serving on http://{f'[{host}]' if ':' in host else host}:{port}")
    serve(make_state(registry, config), listener)


def _load(text: str, config: ServerConfig, runtime: RuntimeConfig, memory: MemoryBudget, reporter: Any) -> Served:
    name, model = _split(text)
    with reporter.step(f"loading {model}"):
        bundle = open_bundle(bundle_for(model, reporter=reporter))
        engine = Engine(replace(bundle, alias=name or display_name(bundle)), runtime, memory=memory)
        limits = QueueLimits(max_tokens=config.max_queued_tokens, window=config.batch_window_ms / 1000)
        served = Served(engine.bundle.name, engine, Scheduler(engine, limits))
        served.probe()
    return served


def _split(text: str) -> tuple[str, str]:
    """``NAME=MODEL``; a path that happens to hold a ``=`` is a path."""
    name, separator, model = text.partition("=")
    return (name, model) if separator and name and not Path(text).exists() else ("", text)
