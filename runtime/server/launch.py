"""From names on a command line to a running server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..autoexport import bundle_for
from ..bundle import Bundle, open_bundle
from ..config import RuntimeConfig
from ..engine import Engine
from ..memory import MemoryBudget
from ..options import from_env
from ..scheduling.scheduler import QueueLimits, Scheduler
from .app import make_state
from .auth import cautions
from .config import ServerConfig
from .models import Registry, Served, display_name
from .serving import bind, check_certificate, serve


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
    config.keys()
    check_certificate(config)
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
    for caution in cautions(config):
        say(caution)
    listener.listen()  # from this line on nobody is refused; uvicorn accepts what has come
    scheme = "http" if config.ssl_certfile is None else "https"
    say(f"serving on {scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    serve(make_state(registry, config), listener)


def _load(text: str, config: ServerConfig, runtime: RuntimeConfig, memory: MemoryBudget, reporter: Any) -> Served:
    name, model = _split(text)
    with reporter.step(f"loading {model}"):
        bundle = open_bundle(bundle_for(model, reporter=reporter))
        named = replace(bundle, alias=name or display_name(bundle))
        return _interruptible(lambda: _served(named, config, runtime, memory))


def _served(bundle: Bundle, config: ServerConfig, runtime: RuntimeConfig, memory: MemoryBudget) -> Served:
    engine = Engine(bundle, runtime, memory=memory)
    engine.tokenizer.max_characters = config.max_text
    limits = QueueLimits(max_tokens=config.max_queued_tokens, window=config.batch_window_ms / 1000)
    served = Served(engine.bundle.name, engine, Scheduler(engine, limits))
    served.probe()
    return served


def _interruptible(work: Callable[[], Served]) -> Served:
    """Work in a thread of its own: opening a large graph takes a minute in which Python would handle no signal."""
    done: Future[Served] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
            done.set_exception(error)

    threading.Thread(target=run, name="pool-export-load", daemon=True).start()
    return done.result()


def _split(text: str) -> tuple[str, str]:
    """``NAME=MODEL``; a path that happens to hold a ``=`` is a path."""
    name, separator, model = text.partition("=")
    return (name, model) if separator and name and not Path(text).exists() else ("", text)
