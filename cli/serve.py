"""``pool-export serve``: bundles behind OpenAI's, vLLM's, Cohere's, Jina's and TEI's routes."""

from __future__ import annotations

from typing import Any

import click

from ..runtime.config import RuntimeConfig
from ..runtime.server.config import ServerConfig
from .errors import naming_extra
from .options import debug_option, declared, given
from .output import StepReporter, note

# How the help page groups the options; those of the engine follow, and what is named nowhere comes last.
_SECTIONS: dict[str, tuple[str, ...]] = {
    "Who may come": ("host", "listen_port", "ssl_certfile", "ssl_keyfile", "api_key", "api_key_file"),
    "Limits": ("max_concurrent_requests", "max_queued_tokens", "max_inputs", "max_text", "max_body", "max_bodies"),
    "Times": ("request_timeout", "read_timeout", "drain_timeout", "batch_window_ms"),
    "Chats and images": (
        "chat_template",
        "trust_request_chat_template",
        "allowed_local_media_path",
        "allowed_media_domains",
    ),
    "What is seen": ("log_format", "log_level", "otlp_endpoint"),
    "Engine": tuple(RuntimeConfig.__dataclass_fields__),
}


class _Sectioned(click.Command):
    """A command whose help page groups its many options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, each option in the first that names it."""
        options = [item for item in self.get_params(ctx) if isinstance(item, click.Option)]
        records = {item.name: record for item in options if (record := item.get_help_record(ctx))}
        for title, names in _SECTIONS.items():
            if found := [records.pop(name) for name in names if name in records]:
                with formatter.section(title):
                    formatter.write_dl(found)
        with formatter.section("Other options"):
            formatter.write_dl(list(records.values()))


@click.command("serve", cls=_Sectioned)
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL…")
@declared(ServerConfig, env=True)
@declared(RuntimeConfig, env=True)
@debug_option
def serve_command(models: tuple[str, ...], **options: Any) -> None:
    """Serve bundles over HTTP, on 127.0.0.1 port 8000 unless told otherwise.

    MODEL is a bundle; a checkpoint or Hub id is exported first, once. Clients pick one by its NAME
    (`model` in the request), which is its source's unless given. Needs the extra `server`.

    \b
    Examples:
      pool-export serve ./bundle
      pool-export serve minilm=./bundle reranker=./other --port 9000
      pool-export serve ./bundle --host 0.0.0.0 --api-key-file keys.txt
      POOL_EXPORT_LOG_FORMAT=json pool-export serve ./bundle --threads 4
      curl http://127.0.0.1:8000/v1/embeddings -H 'Content-Type: application/json' \\
        -d '{"input": "some text"}'

    SIGTERM and Ctrl-C answer what was accepted and exit with 0. docs/serving.md tells the routes,
    docs/deploy.md containers, systemd and Kubernetes.
    """
    with naming_extra("server", "starlette"):
        from ..runtime.server.launch import launch

    server = {name: options.pop(name) for name in list(options) if name in ServerConfig.__dataclass_fields__}
    launch(models, given(server), given(options), StepReporter(), note)
