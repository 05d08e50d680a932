"""The bundles that are served: their names, their engines, and which one a request means."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...poolers.spec import PoolingSpec, Task
from ..bundle import Bundle
from ..chat_template import ChatTemplate
from ..engine import Engine
from ..errors import InputError
from ..prompts import Prompt
from ..requests import CallOptions, run
from ..scheduling.call import Call
from ..scheduling.scheduler import Scheduler
from ..scheduling.shared import SharedEngine
from .problems import ModelNotFound

_log = logging.getLogger(__name__)

# Seconds that the forward pass behind `/ready` may take, and from the start of one to the next.
_PROBE_TIMEOUT = 30.0
_PROBE_PAUSE = 1.0


@dataclass(frozen=True, eq=False)
class Served:
    """One bundle behind its scheduler.

    Attributes:
        name: what clients call it; also what answers name.
        engine: the loaded bundle.
        scheduler: runs it for all clients.
        created: when it was loaded, in seconds since 1970.
        chat: the template of its chats, ``None`` where it has none.
    """

    name: str
    engine: Engine
    scheduler: Scheduler
    created: int = field(default_factory=lambda: int(time.time()))
    chat: ChatTemplate | None = None

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
    """The served models, in the order they were named.

    Attributes:
        models: they.
        is_stopping: whether the server is shutting down and takes no new requests.
    """

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
        self.is_stopping = False
        self._probes = {model: _Probe(model) for model in self.models}

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

    def failing(self) -> list[str]:
        """Names of the models whose forward passes fail. Each is tried again, beside the caller."""
        unhealthy = [model for model in self.models if not model.scheduler.is_healthy]
        for model in unhealthy:
            self._probes[model].start()
        return [model.name for model in unhealthy]

    def ended(self) -> list[str]:
        """Names of the models whose scheduler has ended: only a new process helps."""
        return [model.name for model in self.models if not model.scheduler.is_alive]

    def close(self, timeout: float | None = None) -> bool:
        """Answer what waits and end the threads; return whether all have ended within ``timeout`` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        ended = [
            model.scheduler.close(None if until is None else max(0.0, until - time.monotonic()))
            for model in self.models
        ]
        return all(ended)


class _Probe:
    """Tries a failing model again: one forward pass at a time, seldom, and nobody waits for it.

    Without it, a server that is taken out of its load balancer for its failures would stay out.
    """

    def __init__(self, model: Served) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._not_before = 0.0

    def start(self) -> None:
        if time.monotonic() < self._not_before or not self._lock.acquire(blocking=False):
            return
        self._not_before = time.monotonic() + _PROBE_PAUSE
        threading.Thread(target=self._run, name="pool-export-probe", daemon=True).start()

    def _run(self) -> None:
        try:
            self._model.probe()
        except Exception:  # noqa: BLE001  (the scheduler has counted it; whatever it was, the model is not ready)
            _log.debug("%s does not answer yet", self._model.name, exc_info=True)
        finally:
            self._lock.release()


def display_name(bundle: Bundle) -> str:
    """The name of a bundle that was given none: its source, by the last folder where that is a path."""
    source = bundle.manifest.source.id
    return source if not source.startswith(("/", ".")) else source.rstrip("/").rsplit("/", 1)[-1] or source
