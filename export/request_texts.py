"""Texts that a bundle puts around those of a request: the default prompt and the score template. Torch-free."""

from __future__ import annotations

from ..poolers.errors import ConfigError
from ..poolers.files import CheckpointFiles
from ..poolers.spec import PoolingSpec
from ..runtime.manifest import TokenizerPolicy
from .request import ExportRequest

# What a checkpoint, or the user, says of a reranker whose classifier is taken from a language model's own rows.
_LM_KEYS = ("classifier_from_token", "is_original_qwen3_reranker")


def default_prompt_name(files: CheckpointFiles) -> str | None:
    """The prompt that sentence-transformers applies when none is named.

    Raises:
        ConfigError: it is none of the prompts.
    """
    name, prompts = files.st_config.get("default_prompt_name"), files.st_config.get("prompts") or {}
    if name is not None and name not in prompts:
        raise ConfigError(
            f"config_sentence_transformers.json: default_prompt_name {name!r} is not among the prompts {list(prompts)}"
        )
    return None if name is None else str(name)


def stored_template(request: ExportRequest, spec: PoolingSpec) -> str | None:
    """The score template to store.

    Raises:
        ConfigError: a template for a model that does not score pairs.
    """
    if request.score_template is not None and (spec.convert != "classify" or "score" not in spec.tasks):
        raise ConfigError(
            "score_template is for rerankers: convert=classify with one label, this model has "
            f"convert={spec.convert} and {spec.num_labels or 'no'} label(s)"
        )
    return request.score_template_text()


def template_note(files: CheckpointFiles, spec: PoolingSpec, policy: TokenizerPolicy) -> str | None:
    """A word of warning where a language model's reranker goes without a template (vLLM logs one too)."""
    if spec.convert != "classify" or "score" not in spec.tasks or policy.score_template is not None:
        return None
    if not any(files.config.get(key) for key in _LM_KEYS) and spec.pair_format != "concat":
        return None
    return (
        "this reranker is made from a language model and has no score template: a query and a document are joined "
        "as they are, which is rarely what it was trained on; see --score-template"
    )
