"""What a handler gets and gives: the request's surroundings, and a reply that is bytes already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ...poolers.spec import Task
from ..scheduling.call import Call
from ..scheduling.shared import SharedEngine
from .config import ServerConfig
from .metrics import Metrics
from .models import Registry, Served
from .problems import BadRequest, TooManyInputs


@dataclass(frozen=True)
class Reply:
    """A finished answer."""

    body: bytes
    media_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """Encode an answer. Float32 arrays become the shortest numbers that read back as the same float32."""
    return Reply(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), headers=headers or {})


@dataclass
class Exchange:
    """One request that is being answered. Handlers run in a worker thread and may block.

    Attributes:
        models: what is served.
        config: the server's options.
        request_id: the client's ``X-Request-Id``, or a new one.
        call: deadline, cancellation and timings.
        metrics: what the server has counted.
        headers: of the request, by lower-case name.
        served: the model it turned out to be for, once ``model`` was called.
    """

    models: Registry
    config: ServerConfig
    request_id: str
    call: Call
    metrics: Metrics = field(default_factory=Metrics)
    headers: Mapping[str, str] = field(default_factory=dict)
    served: Served | None = None

    def model(self, name: str | None, *tasks: Task) -> Served:
        """Find the model of the request (``Registry.pick``) and remember it for the log.

        Raises:
            ModelNotFound: there is none of that name.
        """
        self.served = self.models.pick(name, tasks)
        return self.served

    def engine(self, served: Served) -> SharedEngine:
        """The model's engine, for this request alone; a context manager."""
        return SharedEngine(served.scheduler, self.call)

    def check_count(self, what: str, items: Sequence[Any] | Any) -> None:
        """Refuse a list that is empty, or longer than one request may be.

        Raises:
            BadRequest: empty, with vLLM's sentence.
            TooManyInputs: names the field, its length and the limit.
        """
        count = len(items) if isinstance(items, list | tuple) else 1
        if not count:
            raise BadRequest(f"You must pass at least one prompt, got {what}=[]", what)
        if count > self.config.max_inputs:
            raise TooManyInputs(
                f"{what} holds {count} items, the limit of one request is {self.config.max_inputs} (max_inputs); "
                "send several requests"
            )
