"""Load the Hugging Face model that the resolved head needs, in float32, refusing random weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from tokenizers import normalizers
from transformers import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..poolers.architectures import SAME_MODEL_TYPES, is_bidirectional, match_suffix
from ..poolers.spec import PoolingSpec
from .bidirectional import set_bidirectional
from .errors import SourceError
from .own_code import is_own_code, own_loader
from .quiet import quiet
from .request import ExportRequest
from .siglip_tokenizer import fast_form
from .source import Source
from .value_heads import LINEAR_HEADS, Tensors, ValueModel, head_tensors, value_head, value_head_tensors

# Attention code with soft-capping has no SDPA form in the exporter.
_EAGER_FAMILIES = frozenset({"gemma2"})

# Where a classification head lies in a checkpoint, beside the value heads.
_HEAD_NAMES = (*LINEAR_HEADS, "score", "classifier")


def load_model(source: Source, request: ExportRequest, spec: PoolingSpec) -> PreTrainedModel:
    """Load backbone and head, in evaluation mode, float32, without a cache.

    Raises:
        SourceError: the weights cannot be loaded, or a weight the graph needs is not in the
            checkpoint (transformers would fill it with random numbers).
    """
    with quiet():
        config = load_config(source, request)
        if is_bidirectional(source.files.architecture, source.files.config):
            set_bidirectional(config)
        head = _native_head(source, request, spec)
        loader = AutoModel if head else _loader(source, request, config, spec)
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
    if spec.num_labels is None:
        _refuse_lost_head(source, spec, info)
        row = match_suffix(type(model).__name__)
        is_headed = row is not None and row[1] != "embed"
        model = model.base_model if is_own_code(model) and is_headed else model
    elif head:
        model = ValueModel(model, value_head(head))
    elif spec.classifier_method is None:
        _add_score_bias(source, model, info)
    return model.eval()  # type: ignore[no-any-return]


def _native_head(source: Source, request: ExportRequest, spec: PoolingSpec) -> list[Tensors]:
    """Read a value head that no class of transformers has, unless the checkpoint's own code may build it.

    Raises:
        SourceError: only that code knows the head.
    """
    architecture = source.files.architecture
    has_code = own_loader(source.files) is not None
    is_known = hasattr(transformers, architecture) or spec.num_labels is None or spec.classifier_method is not None
    if is_known or (has_code and request.trust_remote_code):
        return []
    tensors = value_head_tensors(source.model_folder, architecture)
    if has_code and not tensors:
        raise SourceError(
            f"{source.id}: {architecture} is Python code of the checkpoint's own, which is not run unless you read it "
            "and pass --trust-remote-code"
        )
    return tensors


def _add_score_bias(source: Source, model: Any, info: Mapping[str, Any]) -> None:
    """Give a decoder's ``score`` the bias that its checkpoint has and transformers' class has not (as vLLM does).

    Raises:
        SourceError: other tensors of the head that the class would leave out without a word.
    """
    unread = sorted(key for key in info["unexpected_keys"] if key.split(".", 1)[0] in _HEAD_NAMES)
    if unread == ["score.bias"] and isinstance(model.score, torch.nn.Linear):
        bias = head_tensors(source.model_folder)["score.bias"].to(torch.float32)
        if bias.shape != (model.score.out_features,):
            raise SourceError(f"{source.id}: score.bias has shape {tuple(bias.shape)}, not that of its score.weight")
        model.score.bias = torch.nn.Parameter(bias, requires_grad=False)
    elif unread:
        raise SourceError(f"{source.id}: {type(model).__name__} has no place for the head's {', '.join(unread)}")


def _refuse_lost_head(source: Source, spec: PoolingSpec, info: Mapping[str, Any]) -> None:
    """Refuse to answer hidden states as rewards beside a value head that nobody reads."""
    lost = sorted(key for key in info["unexpected_keys"] if key.split(".", 1)[0] in LINEAR_HEADS)
    if spec.convert == "reward" and lost:
        named = source.files.architecture.replace("ForCausalLM", "") + "ForRewardModel"
        raise SourceError(
            f"{source.id} holds a value head ({', '.join(lost)}) that {source.files.architecture} does not read; "
            f"""pass --hf-overrides '{{"architectures": ["{named}"], "num_labels": 1}}'"""
        )


def load_config(source: Source, request: ExportRequest) -> PretrainedConfig:
    """Read the model's config with ``hf_overrides`` applied; an overridden ``model_type`` picks the class.

    Raises:
        SourceError: transformers does not know the model type.
    """
    overrides = request.hf_overrides or {}
    same = SAME_MODEL_TYPES.get(source.files.model_type)
    try:
        if "model_type" in overrides or same is not None:
            # Known here: the repo's own code is not needed, and the one for transformers 4 would stay causal in 5.
            left_out = ("model_type",) if same is None else ("model_type", "auto_map")
            fields = {key: value for key, value in source.files.config.items() if key not in left_out}
            return AutoConfig.for_model(same or overrides["model_type"], **fields)
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
    if not request.trust_remote_code:
        _end_texts(source, tokenizer)
    return tokenizer


def _end_texts(source: Source, tokenizer: PreTrainedTokenizerBase) -> None:
    """Append the end of text where a tokenizer of the repo's own would (gte-Qwen2); transformers' class does not."""
    config = source.files.tokenizer_config
    if (config.get("auto_map") or {}).get("AutoTokenizer") and config.get("add_eos_token") is True:
        tokenizer.add_eos_token = True


def _is_vocabulary(name: str) -> bool:
    known = name in ("tokenizer.json", "vocab.txt", "vocab.json", "tekken.json")
    return known or name.endswith((".model", ".tiktoken"))


def _lower_case(tokenizer: PreTrainedTokenizerBase) -> None:
    """Put lower-casing into the tokenizer itself, where sentence-transformers has it: special tokens in a text stay."""
    backend = tokenizer.backend_tokenizer
    own = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])


def _loader(source: Source, request: ExportRequest, config: PretrainedConfig, spec: PoolingSpec) -> Any:
    architecture = source.files.architecture
    own = own_loader(source.files) if request.trust_remote_code else None
    if own is not None and spec.classifier_method is None:
        return own
    if spec.is_sparse_only:
        return AutoModelForMaskedLM
    if not spec.has_classifier:
        # T5 and kin are pooled at their encoder; AutoModel would build the decoder too.
        return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
    if spec.classifier_method is not None:
        return AutoModelForCausalLM  # whatever the (overridden) architecture is called, the weights are a causal LM's
    if architecture.endswith("ForTokenClassification"):
        # T5's encoder classifier is not in every auto mapping; the name in config.json is exact.
        return getattr(transformers, architecture, AutoModelForTokenClassification)
    return AutoModelForSequenceClassification


def _refuse_random_weights(source: Source, spec: PoolingSpec, info: Mapping[str, Any]) -> None:
    missing = sorted(info["missing_keys"])
    if not spec.has_classifier:
        # BERT's own pooler follows the hidden states; an embedding never reads it.
        missing = [key for key in missing if "pooler." not in key]
    if missing:
        hint = "" if not spec.has_classifier else "; the checkpoint has no such head, use --convert embed or reward"
        if spec.is_sparse_only:
            hint = "; SPLADE needs a masked language model's head, use another pooling type for a dense vector"
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
