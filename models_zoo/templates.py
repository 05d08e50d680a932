"""Score templates of known rerankers: how a query and a document become the one text the model reads.

Data files in ``templates/*.jinja``, written after the formats that the models' authors published.
A template gets two ``messages`` with the roles ``query`` and ``document``, and ``instruction``
where the format has a place for one. Standard library only; the runtime renders them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from ..poolers.errors import ConfigError, closest

ScoreTemplateName = Literal["qwen3_reranker", "mxbai_rerank_v2", "bge_reranker_v2_gemma", "nemotron_rerank"]
SCORE_TEMPLATES: tuple[ScoreTemplateName, ...] = get_args(ScoreTemplateName)


def score_template(name: str) -> str:
    """Return the jinja text of one template.

    Raises:
        ConfigError: no template of that name; the message carries the nearest one, or all there are.
    """
    if name not in SCORE_TEMPLATES:
        raise ConfigError(f"no score template {name!r}{closest(name, SCORE_TEMPLATES)}")
    return (resources.files(__package__) / "templates" / f"{name}.jinja").read_bytes().decode("utf-8")


def find_template(name_or_file: str) -> str:
    """Return the jinja text of a template given by its name, or by a file that holds it.

    Raises:
        ConfigError: neither, or a file that is not text.
    """
    path = Path(name_or_file).expanduser()
    if name_or_file in SCORE_TEMPLATES or not path.is_file():
        try:
            return score_template(name_or_file)
        except ConfigError as error:
            raise ConfigError(f"{error}; nor is there such a file") from None
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"score template {path} cannot be read as UTF-8 text: {error}") from error
