"""Whether an engine works: failures are counted in a row, so one bad text is no illness."""

from __future__ import annotations

import threading

# So many forward passes in a row have to fail, each with one request's texts, before the engine counts as broken.
_BROKEN_AFTER = 3


class Health:
    """Counts forward passes; safe from several threads."""

    def __init__(self) -> None:
        """Begin in good health."""
        self._lock = threading.Lock()
        self._failures = 0

    @property
    def is_good(self) -> bool:
        """Whether the last passes were not all failures."""
        return self._failures < _BROKEN_AFTER

    def count(self, *, is_good: bool) -> None:
        """Count a pass; a good one ends any row of failures."""
        with self._lock:
            self._failures = 0 if is_good else self._failures + 1
