"""From a bundle to an engine that may answer: options, what was tuned, and the check on this host."""

from __future__ import annotations

from .admission import admit
from .bundle import Bundle
from .config import RuntimeConfig
from .engine import Engine
from .memory import MemoryBudget
from .system import available_cpus
from .tuned import with_tuned


def open_engine(
    bundle: Bundle, config: RuntimeConfig, max_length: int | None = None, memory: MemoryBudget | None = None
) -> Engine:
    """Open a bundle as users run it; arguments as ``Engine``.

    Raises:
        BundleError, ProviderError, InputError, MissingExtraError: as ``Engine``.
        ProviderError: the device or the precision disagrees with the golden vectors on this host (``admission.py``).
    """
    chosen = with_tuned(config, bundle, config.threads or available_cpus())
    engine = Engine(bundle, chosen, max_length, memory)
    admit(engine)
    return engine
