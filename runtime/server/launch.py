"""From names on a command line to a running server."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import disable_created_metrics

from ...poolers.errors import PoolExportError
from ..autoexport import bundle_for
from ..bundle import Bundle, open_bundle
from ..chat_template import ChatTemplate, compile_chat_template, read_chat_template, read_special_tokens
from ..config import RuntimeConfig
from ..errors import InputError
from ..memory import MemoryBudget
from ..opening import open_engine
from ..options import from_env
from ..scheduling.scheduler import QueueLimits, Scheduler
from ..system import return_large_blocks
from .announce import announce
from .app import make_state
from .config import ServerConfig
from .logs import LoggedSteps, log, logging_to
from .metrics import Metrics
from .models import Registry, Served, display_name
from .serving import bind, check_certificate, serve
from .tracing import Tracing, otlp_processor


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
        reporter: shows a person the steps of loading (``export.reporting.Reporter``).
        say: shows a person a line.

    Raises:
        InputError: a bad option, or an address that cannot be taken.
        BundleError, ProviderError: a model that cannot be loaded.
        MissingExtraError: traces are asked for, and the ``otel`` extra is not installed.
        SystemExit: what went wrong is a line of JSON already, where JSON is asked for.
    """
    config = from_env(ServerConfig, **server_options)
    return_large_blocks()
    disable_created_metrics()  # a time beside every counter, which nobody asks for
    # A terminal gets a table and a moving bar; a file gets lines of the log.
    is_watched = config.log_format == "text" and sys.stderr.isatty()
    shown = (reporter, say) if is_watched else (LoggedSteps(), None)
    with logging_to(sys.stderr, config.log_format, config.log_level):
        try:
            _serve(models, config, from_env(RuntimeConfig, **runtime_options), *shown)
        except Exception as error:
            if config.log_format != "json":
                raise
            unknown = None if isinstance(error, PoolExportError) else error
            log.critical(str(error), exc_info=unknown, extra={"fields": {"error_type": type(error).__name__}})
            raise SystemExit(1) from error


def _serve(
    models: Sequence[str],
    config: ServerConfig,
    runtime: RuntimeConfig,
    reporter: Any,
    show: Callable[[str], object] | None,
) -> None:
    with ExitStack() as closing:
        observers = []
        if config.otlp_endpoint is not None:
            tracing = Tracing(otlp_processor(config.otlp_endpoint))
            closing.callback(tracing.close)
            observers.append(tracing.observe)
        config.keys()
        check_certificate(config)
        listener = closing.enter_context(bind(config.host, config.listen_port))
        metrics, memory = Metrics(), MemoryBudget.of(runtime.memory_limit)
        registry = Registry([_load(text, config, runtime, memory, metrics, reporter) for text in models])
        host, port = listener.getsockname()[:2]
        state = make_state(registry, config, observers, metrics)
        scheme = "http" if config.ssl_certfile is None else "https"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        serve(state, listener, lambda: announce(registry.models, config, url, show))


def _load(
    text: str, config: ServerConfig, runtime: RuntimeConfig, memory: MemoryBudget, metrics: Metrics, reporter: Any
) -> Served:
    name, model = _split(text)
    with reporter.step(f"loading {model}"):
        bundle = open_bundle(bundle_for(model, reporter=reporter))
        named = replace(bundle, alias=name or display_name(bundle))
        return _interruptible(lambda: _served(named, config, runtime, memory, metrics))


def _served(
    bundle: Bundle, config: ServerConfig, runtime: RuntimeConfig, memory: MemoryBudget, metrics: Metrics
) -> Served:
    engine = open_engine(bundle, runtime, memory=memory)
    engine.tokenizer.max_characters = config.max_text
    limits = QueueLimits(max_tokens=config.max_queued_tokens, window=config.batch_window_ms / 1000)
    scheduler = Scheduler(engine, limits, metrics.batches(bundle.name))
    served = Served(bundle.name, engine, scheduler, chat=_chat_template(bundle, config))
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


def _chat_template(bundle: Bundle, config: ServerConfig) -> ChatTemplate | None:
    """The server's template where it was given one, which has to be valid; else the model's own."""
    if config.chat_template is None:
        return read_chat_template(bundle.folder, has_images=bundle.manifest.image is not None)
    try:
        text = Path(config.chat_template).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"chat_template {config.chat_template} cannot be read: {error}") from error
    compile_chat_template(text)
    return ChatTemplate(text, read_special_tokens(bundle.folder))


def _split(text: str) -> tuple[str, str]:
    """``NAME=MODEL``; a path that happens to hold a ``=`` is a path."""
    name, separator, model = text.partition("=")
    return (name, model) if separator and name and not Path(text).exists() else ("", text)
