"""Which conversion a checkpoint gets: vLLM's runner/convert ``auto`` algorithm."""

from __future__ import annotations

from .architectures import NON_TEXT_SUFFIXES, match_suffix
from .errors import ConfigError
from .files import CheckpointFiles
from .late_modules import STANFORD_ARCHITECTURES
from .spec import Convert, Runner
from .st_modules import answers_scores, has_pooling, module_kind
from .token_classifier import has_logit_score

# Modules that make sparse or multi-vector embedders.
_VECTOR_MODULES = frozenset({"SpladePooling", "MultiVectorMask"})


def resolve_convert(files: CheckpointFiles, *, convert: Convert = "auto", runner: Runner = "auto") -> Convert:
    """Apply vLLM's runner/convert ``auto`` algorithm.

    Raises:
        ConfigError: the architecture is generative (or unknown) and no conversion was asked for.
    """
    architecture = files.architecture
    if architecture.endswith(NON_TEXT_SUFFIXES):
        raise ConfigError(f"architecture {architecture} has no text pooling use; expected an embedding, "
                          "classification or reward model")  # fmt: skip
    if runner == "generate" or convert == "none":
        raise ConfigError(
            f"runner={runner!r}, convert={convert!r} asks for a generative model; this tool exports pooling models: "
            "use --runner auto and --convert auto|embed|classify|reward"
        )
    if convert != "auto":
        return convert
    if has_logit_score(files.modules) or is_modular_cross_encoder(files):
        return "classify"  # by its modules, whatever its architecture is called
    row = match_suffix(architecture)
    if files.st_config.get("model_type") == "CrossEncoder" and (row is None or row[1] != "classify"):
        # Read as an embedder it would answer a vector of one number, and rank nothing.
        kinds = ", ".join(module_kind(entry) for entry in files.modules or ())
        raise ConfigError(
            f"config_sentence_transformers.json says CrossEncoder and the head is in modules.json ({kinds}); "
            "expected a *ForSequenceClassification checkpoint, or modules that end in a Dense with module_output_name "
            "'scores'"
        )
    if row is not None and row[0] == "pooling":
        # A sentence-transformers repo is an embedder unless its architecture says otherwise.
        return row[1]
    answers_vectors = any(module_kind(entry) in _VECTOR_MODULES for entry in files.modules or ())
    if runner == "pooling" or has_pooling(files.modules) or answers_vectors or architecture in STANFORD_ARCHITECTURES:
        return "embed"
    raise ConfigError(_way_out(architecture))


def _way_out(architecture: str) -> str:
    if architecture.endswith("ForMaskedLM"):
        return (
            f'{architecture} is not a pooling model by itself; pass --pooler-config \'{{"pooling_type": "SPLADE"}}\' '
            "for sparse vectors from its vocabulary, or --convert embed for a dense vector"
        )
    shown = architecture or "(no architecture in config.json)"
    return f"{shown} is not a pooling model by itself; pass --convert embed|classify|reward to adapt it into one"


def is_modular_cross_encoder(files: CheckpointFiles) -> bool:
    """Whether the checkpoint is a cross-encoder whose head is made of modules (sentence-transformers 5.4 and later)."""
    return files.st_config.get("model_type") == "CrossEncoder" and answers_scores(files.modules, files.module_configs)
