"""What a library that runs graphs has to offer, and what it is told when it opens one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..manifest import Precision

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how a graph runs.

    Attributes:
        device: a name of ``config.DEVICES`` other than ``auto``.
        graph: which graph of the bundle is read.
        compute: precision of the arithmetic; differs from ``graph`` where the library rounds by itself.
    """

    device: str
    graph: Precision
    compute: Precision


@dataclass(frozen=True, kw_only=True)
class Load:
    """One graph to open.

    Attributes:
        path: its file.
        place: where and how it runs.
        threads: compute threads, of all streams together.
        streams: passes that run at once.
        usual: the output that most requests ask for; the first of them should find everything ready.
        copies: its weights may be in memory more than once, so it may be opened for more than one way to run.
    """

    path: Path
    place: Place
    threads: int
    streams: int
    usual: str
    copies: bool = False

    @property
    def widens(self) -> bool:
        """Open it a second time, for passes that run alone and then have every thread."""
        return self.copies and self.streams > 1


class Backend(Protocol):
    """An opened graph. ``run`` may be called from as many threads at once as there are streams.

    Attributes:
        version: of the library, as it is recorded beside what was measured with it.
        streams: forward passes that are worth running at once.
        input_names: what the graph declares, in its order.
        output_names: as ``input_names``.
        length_step: a lone text is best padded to a multiple of so many tokens.
    """

    version: str
    streams: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    length_step: int

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str], *, gives_back: bool, alone: bool) -> list[Array]:
        """Run one batch and return the outputs in the order asked for.

        Args:
            feeds: exactly the declared inputs.
            outputs: names of ``output_names``.
            gives_back: return the memory of intermediate results afterwards.
            alone: nothing else waits to be run, so it may have the threads of the other streams.

        Raises:
            Exception: the library's own; ``session.Session`` makes it a ``RuntimeFailure``.
        """

    def metadata(self) -> dict[str, str]:
        """The graph's own ``metadata_props``."""
