"""The bundles that are served: their names, their engines, and which one a request means."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...poolers.errors import PoolExportError
from ...poolers.spec import PoolingSpec, Task
from ..bundle import Bundle
from ..engine import Engine
from ..errors import InputError
from ..prompts import Prompt
from ..requests import CallOptions, run
from ..scheduling.call import Call
from ..scheduling.scheduler import Scheduler
from ..scheduling.shared import SharedEngine
from .problems import ModelNotFound

# Seconds that the forward pass behind `/ready` may take.
_PROBE_TIMEOUT = 30.0


@dataclass(frozen=True, eq=False)
class Served:
    """One bundle behind its scheduler.

    Attributes:
        name: what clients call it; also what answers name.
        engine: the loaded bundle.
        scheduler: runs it for all clients.
        created: when it was loaded, in seconds since 1970.
    """

    name: str
    engine: Engine
    scheduler: Scheduler
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def spec(self) -> PoolingSpec:
        """The pooling head."""
        return self.engine.bundle.manifest.pooling

    def probe(self) -> None:
        """Run one forward pass, as a client's request would.

        Raises:
            PoolExportError: it failed.
        """
        task = next(task for task in self.spec.tasks if task != "score")
        with SharedEngine(self.scheduler, Call(_PROBE_TIMEOUT)) as engine:
            run(engine, task, [Prompt(token_ids=(self._probe_token(),))], None, CallOptions())

    def _probe_token(self) -> int:
        return self.engine.tokenizer.first_special_id() or 0


class Registry:
    """The served models, in the order they were named."""

    def __init__(self, models: Sequence[Served]) -> None:
        """Take the models.

        Raises:
            InputError: two have one name, or there is none.
        """
        names = [model.name for model in models]
        if not models:
            raise InputError("nothing to serve: give at least one bundle")
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"two bundles are named {double[0]!r}; give each its own: NAME=BUNDLE")
        self.models = tuple(models)

    def pick(self, name: str | None, tasks: Sequence[Task]) -> Served:
        """The model that a request means.

        Args:
            name: as the client wrote it; without one, the first model that has one of the tasks is meant.
            tasks: what the route can do with a model; empty where any model will do.

        Raises:
            ModelNotFound: no model has that name.
        """
        if name:
            for model in self.models:
                if model.name == name:
                    return model
            raise ModelNotFound(
                f"The model `{name:.80}` does not exist. Models served here: {', '.join(m.name for m in self.models)}"
            )
        able = (model for model in self.models if not tasks or set(tasks) & set(model.spec.tasks))
        return next(able, self.models[0])

    def is_ready(self) -> bool:
        """Whether every model answers; one that failed lately is tried again."""
        return all(model.scheduler.is_healthy or _recovers(model) for model in self.models)

    def close(self) -> None:
        """Answer what waits and end the threads."""
        for model in self.models:
            model.scheduler.close()


def _recovers(model: Served) -> bool:
    try:
        model.probe()
    except PoolExportError:
        return False
    return model.scheduler.is_healthy


def display_name(bundle: Bundle) -> str:
    """The name of a bundle that was given none: its source, by the last folder where that is a path."""
    source = bundle.manifest.source.id
    return source if not source.startswith(("/", ".")) else source.rstrip("/").rsplit("/", 1)[-1] or source
