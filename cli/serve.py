"""``pool-export serve``: bundles behind OpenAI's, vLLM's, Cohere's, Jina's and TEI's routes."""

from __future__ import annotations

from typing import Any

import click

from ..runtime.config import RuntimeConfig
from ..runtime.server.config import ServerConfig
from .errors import naming_extra
from .options import debug_option, declared, given
from .output import StepReporter, note


@click.command("serve")
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL…")
@declared(ServerConfig, env=True)
@declared(RuntimeConfig, env=True)
@debug_option
def serve_command(models: tuple[str, ...], **options: Any) -> None:
    """Serve bundles over HTTP, on 127.0.0.1 port 8000 unless told otherwise.

    MODEL is a bundle; a checkpoint or Hub id is exported first, once. Clients pick one by its NAME
    (`model` in the request), which is its source's unless given.

    \b
    Examples:
      pool-export serve ./bundle
      pool-export serve minilm=./bundle reranker=./other --port 9000
      pool-export serve ./bundle --host 0.0.0.0 --api-key-file keys.txt
      curl http://127.0.0.1:8000/v1/embeddings -H 'Content-Type: application/json' \\
        -d '{"input": "some text"}'
    """
    with naming_extra("server", "starlette"):
        from ..runtime.server.launch import launch

    server = {name: options.pop(name) for name in list(options) if name in ServerConfig.__dataclass_fields__}
    launch(models, given(server), given(options), StepReporter(), note)
