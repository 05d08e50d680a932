"""What ``pool-export tune`` stored for a bundle on this host: where it runs fastest. Never in the bundle."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from .bundle import Bundle
from .cache import host, read_record, record_path
from .config import RuntimeConfig

_log = logging.getLogger("pool_export.runtime")


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A stored choice, and what was measured when it was made.

    Attributes:
        device, precision, streams, max_batch_tokens: fields of ``RuntimeConfig``.
        threads: cores there were.
        backend: library and version it was measured with.
        tokens_per_second: at the time.
        min_cosine: least cosine to the reference on the golden vectors.
        date: ISO date.
    """

    device: str
    precision: str
    streams: int
    max_batch_tokens: int
    threads: int
    backend: str
    tokens_per_second: float
    min_cosine: float
    date: str

    def applied(self, config: RuntimeConfig) -> RuntimeConfig:
        """Fill in what was chosen."""
        return replace(
            config,
            device=self.device,
            precision=self.precision,
            streams=self.streams,
            max_batch_tokens=self.max_batch_tokens,
        )


def tuned_path(bundle: Bundle) -> Path:
    """Where the choice for a bundle is kept: by host, and by its graphs."""
    return record_path("tuned", host(), *(file.sha256 for file in bundle.manifest.files()))


def stored_choice(config: RuntimeConfig, bundle: Bundle, threads: int) -> Tuned | None:
    """The choice for this host, where the options leave all of it open: device, precision, streams, batch tokens.

    A choice made with another number of threads is not used.
    """
    is_open = (config.device, config.precision) == ("auto", "auto") and not config.streams
    if not is_open or config.max_batch_tokens:
        return None
    found = read_record(tuned_path(bundle), Tuned)
    if found is not None and found.threads != threads:
        _log.info("tuned with %d threads, there are %d now; run: pool-export tune", found.threads, threads)
        return None
    return found
