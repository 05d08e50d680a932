"""Batches on several threads, results in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def in_streams(work: Callable[[Item], Result], items: Sequence[Item], streams: int) -> Iterator[Iterator[Result]]:
    """Yield an iterator over the results of ``work``, in the order of ``items``, up to ``streams`` at once.

    With one stream or one item the work is done in the caller's thread. On an error nothing more is started.
    """
    if streams == 1 or len(items) < 2:
        yield map(work, items)
        return
    pool = ThreadPoolExecutor(min(streams, len(items)), thread_name_prefix="pool-export-stream")
    try:
        yield pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
