"""Load the Hugging Face model that the resolved head needs, in float32, refusing random weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import normalizers
from transformers import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..poolers.spec import PoolingSpec
from .errors import SourceError
from .quiet import quiet
from .request import ExportRequest
from .siglip_tokenizer import fast_form
from .source import Source

# Attention code with soft-capping has no SDPA form in the exporter.
_EAGER_FAMILIES = frozenset({"gemma2"})


def load_model(source: Source, request: ExportRequest, spec: PoolingSpec) -> PreTrainedModel:
    """Load backbone and head, in evaluation mode, float32, without a cache.

    Raises:
        SourceError: the weights cannot be loaded, or a weight the graph needs is not in the
            checkpoint (transformers would fill it with random numbers).
    """
    with quiet():
        config = load_config(source, request)
        loader = _loader(source, config, spec)
        try:
            model, info = loader.from_pretrained(
                source.model_folder,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager" if config.model_type in _EAGER_FAMILIES else None,
                trust_remote_code=request.trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
            )
        except Exception as error:
            raise SourceError(f"{source.id} cannot be loaded: {_reason(error)}") from error
    _refuse_random_weights(source, spec, info)
    _disable_cache(model.config)
    return model.eval()  # type: ignore[no-any-return]


def load_config(source: Source, request: ExportRequest) -> PretrainedConfig:
    """Read the model's config with ``hf_overrides`` applied; an overridden ``model_type`` picks the class.

    Raises:
        SourceError: transformers does not know the model type.
    """
    overrides = request.hf_overrides or {}
    try:
        if "model_type" in overrides:
            fields = {key: value for key, value in source.files.config.items() if key != "model_type"}
            return AutoConfig.for_model(overrides["model_type"], **fields)
        config: PretrainedConfig = AutoConfig.from_pretrained(
            source.model_folder, trust_remote_code=request.trust_remote_code
        )
        # Made anew from the merged file, so that the model is the one `config.json` of the bundle describes.
        return type(config).from_dict(dict(source.files.config)) if overrides else config
    except Exception as error:
        raise SourceError(f"{source.id}: config.json is not understood: {_reason(error)}") from error


def load_tokenizer(source: Source, request: ExportRequest) -> PreTrainedTokenizerBase:
    """Load the checkpoint's tokenizer; only "fast" ones can be shipped to other hosts.

    Raises:
        SourceError: no tokenizer, or one without a ``tokenizer.json`` form.
    """
    if not request.trust_remote_code and not any(_is_vocabulary(path.name) for path in source.model_folder.iterdir()):
        # transformers 5 would make up an empty tokenizer.
        raise SourceError(
            f"{source.model_folder} has no tokenizer; expected tokenizer.json, vocab.txt or a *.model file"
        )
    with quiet():
        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                source.model_folder, trust_remote_code=request.trust_remote_code
            )
        except Exception as error:
            raise SourceError(f"{source.id}: the tokenizer cannot be loaded: {_reason(error)}") from error
    if not tokenizer.is_fast and (converted := fast_form(tokenizer)) is not None:
        tokenizer = converted
    if not tokenizer.is_fast:
        raise SourceError(
            f"{source.id}: {type(tokenizer).__name__} has no tokenizer.json form; expected a fast tokenizer"
        )
    if source.lower_case:
        _lower_case(tokenizer)
    return tokenizer


def _is_vocabulary(name: str) -> bool:
    known = name in ("tokenizer.json", "vocab.txt", "vocab.json", "tekken.json")
    return known or name.endswith((".model", ".tiktoken"))


def _lower_case(tokenizer: PreTrainedTokenizerBase) -> None:
    """Put lower-casing into the tokenizer itself, where sentence-transformers has it: special tokens in a text stay."""
    backend = tokenizer.backend_tokenizer
    own = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])


def _loader(source: Source, config: PretrainedConfig, spec: PoolingSpec) -> Any:
    architecture = source.files.architecture
    if spec.num_labels is None:
        # T5 and kin are pooled at their encoder; AutoModel would build the decoder too.
        return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
    if architecture.endswith("ForTokenClassification"):
        import transformers

        # T5's encoder classifier is not in every auto mapping; the name in config.json is exact.
        return getattr(transformers, architecture, AutoModelForTokenClassification)
    return AutoModelForSequenceClassification


def _refuse_random_weights(source: Source, spec: PoolingSpec, info: Mapping[str, Any]) -> None:
    missing = sorted(info["missing_keys"])
    if spec.num_labels is None:
        # BERT's own pooler follows the hidden states; an embedding never reads it.
        missing = [key for key in missing if "pooler." not in key]
    if missing:
        hint = "" if spec.num_labels is None else "; the checkpoint has no such head, use --convert embed or reward"
        shown = ", ".join(missing[:4]) + (" …" if len(missing) > 4 else "")
        raise SourceError(f"{source.id}: {len(missing)} weight(s) are not in the checkpoint ({shown}){hint}")
    mismatched = sorted(entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"])
    if mismatched:
        raise SourceError(f"{source.id}: weights have other shapes than config.json says: {', '.join(mismatched[:4])}")


def _disable_cache(config: PretrainedConfig) -> None:
    # A cache would turn up among the outputs of the trace.
    for scope in (config, config.get_text_config()):
        scope.use_cache = False


def _reason(error: Exception) -> str:
    """The first line of a library's message, in this tool's words where it asks for trust."""
    if "trust_remote_code" in str(error):
        return "it brings Python code of its own, which is not run unless you read it and pass --trust-remote-code"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
