"""From a bundle to an engine that may answer: options, what was tuned, and the check on this host."""

from __future__ import annotations

import logging

from .admission import admit
from .bundle import Bundle
from .config import RuntimeConfig
from .engine import Engine
from .errors import MissingExtraError, ProviderError
from .memory import MemoryBudget
from .system import available_cpus
from .tuned import stored_choice

_log = logging.getLogger("pool_export.runtime")


def open_engine(
    bundle: Bundle, config: RuntimeConfig, max_length: int | None = None, memory: MemoryBudget | None = None
) -> Engine:
    """Open a bundle as users run it; arguments as ``Engine``.

    Raises:
        BundleError, ProviderError, InputError, MissingExtraError: as ``Engine``.
        ProviderError: the device or the precision disagrees with the golden vectors on this host (``admission.py``).
    """
    tuned = stored_choice(config, bundle, config.threads or available_cpus())
    try:
        engine = Engine(bundle, config if tuned is None else tuned.applied(config), max_length, memory)
    except (MissingExtraError, ProviderError) as error:
        if tuned is None:
            raise
        raise ProviderError(
            f"{error}; {bundle.folder} was tuned for device {tuned.device!r} on this host on {tuned.date}, to forget "
            f"that: pool-export tune {bundle.folder} --forget"
        ) from error
    if tuned is not None and tuned.backend != engine.session.backend.version:
        _log.info("tuned with %s, this is %s; run: pool-export tune", tuned.backend, engine.session.backend.version)
    admit(engine)
    return engine
