"""A corpus of any size in bounded memory: window after window, the next one prepared while one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from .errors import InputError

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")

# Texts of a window: enough that sorting by length leaves little padding, few enough to be held.
WINDOW = 2048


def in_windows(
    items: Iterable[Item],
    prepare: Callable[[list[Item]], Prepared],
    run: Callable[[Prepared], Sequence[Result]],
    window: int = WINDOW,
) -> Iterator[Result]:
    """Yield the results of all items, in their order, reading at most two windows ahead of what was taken.

    Args:
        items: read as they are needed, in a thread of its own.
        prepare: a window's first half (tokenizing); runs beside the window before it.
        run: its second half.
        window: items of a window.

    Raises:
        InputError: a window without room.
        Exception: what reading, ``prepare`` or ``run`` raised, once everything before it was yielded.
    """
    if window < 1:
        raise InputError(f"window must be at least 1, got {window}")
    return _windows(iter(items), prepare, run, window)


def _windows(
    items: Iterator[Item],
    prepare: Callable[[list[Item]], Prepared],
    run: Callable[[Prepared], Sequence[Result]],
    window: int,
) -> Iterator[Result]:
    def following() -> Prepared | None:
        taken = list(islice(items, window))
        return prepare(taken) if taken else None

    with ThreadPoolExecutor(1, thread_name_prefix="pool-export-window") as beside:
        coming = beside.submit(following)
        while (ready := coming.result()) is not None:
            coming = beside.submit(following)
            yield from run(ready)
