"""Turn a loaded model and a resolved head into the module that is traced."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ..poolers.architectures import (
    OFFSET_POSITION_FAMILIES,
    TRIGRAM_FAMILIES,
    UNEXPORTABLE,
    is_bidirectional,
)
from ..poolers.heads import Step
from ..poolers.image_text import TEXT_PROJECTION
from ..poolers.parts import HeadStep
from ..poolers.pooler import Pooler
from ..poolers.spec import PoolingSpec
from .bidirectional import require_bidirectional
from .classifiers import find_classifier
from .errors import ExportError, SourceError
from .language_head import token_classifier
from .own_code import is_own_code, require_own_forward
from .source import STEP_WEIGHTS, Source
from .tower_config import end_token, text_projection


class AdaptedModel(nn.Module):
    """Backbone and pooling head in one module; its ``forward`` is the graph."""

    def __init__(self, backbone: PreTrainedModel, pooler: Pooler) -> None:
        """Compose a backbone with its head; input names follow from the backbone's signature."""
        super().__init__()
        self.backbone = backbone
        self.pooler = pooler
        self.config = backbone.config
        self.input_names = input_names(backbone) + (() if pooler.spec.include_prompt else ("pooling_mask",))
        self._takes_positions = "position_ids" in inspect.signature(backbone.forward).parameters
        self._is_sparse = pooler.spec.is_sparse_only
        late = pooler.spec.late_interaction
        self._counted_token = late.counted_token_id if late is not None else None
        self._position_offset = int(self.config.pad_token_id) if _counts_from_pad(self.config) else None
        self._end_token = end_token(self.config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        pooling_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the graph outputs.

        Args:
            input_ids: int64 ``[batch_size, sequence_length]``.
            attention_mask: int64, same shape; 1 for tokens, 0 for padding on either side.
            token_type_ids: int64, same shape, for models that have segments.
            pooling_mask: int64, same shape, for models that leave a prompt's tokens out of pooling.
        """
        extra: dict[str, Tensor] = {}
        if token_type_ids is not None:
            extra["token_type_ids"] = token_type_ids
        counted = self._counted(input_ids, attention_mask)
        if self._takes_positions:
            extra["position_ids"] = self._positions(input_ids, counted)
        if self.config.model_type in TRIGRAM_FAMILIES:
            embedded = self.backbone.get_input_embeddings()(input_ids)
            extra["inputs_embeds"] = embedded * attention_mask.unsqueeze(-1).to(embedded.dtype)
        else:
            extra["input_ids"] = input_ids
        seen = _never_empty(attention_mask) if getattr(self.config, "token_dropout", False) else attention_mask
        answer = self.backbone(attention_mask=seen, **extra)
        states = answer.logits if self._is_sparse else answer.last_hidden_state
        outputs: dict[str, Tensor] = self.pooler(states, self._pooled(input_ids, counted), pooling_mask)
        return outputs

    def _counted(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Positions that are the text's own: those attended to, and the expansion tokens of a ColBERT query."""
        if self._counted_token is None:
            return attention_mask
        return attention_mask | (input_ids == self._counted_token).to(attention_mask.dtype)

    def _pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The tokens that pooling sees: CLIP's end at the first end token, as transformers pools them."""
        if self._end_token is None:
            return attention_mask
        ends = attention_mask * (input_ids == self._end_token).to(attention_mask.dtype)
        return attention_mask * (ends.cumsum(dim=1) == ends).to(attention_mask.dtype)

    def _positions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Positions counted over real tokens, so that left padding does not shift them."""
        if self._position_offset is None:
            return (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        # RoBERTa counts tokens that are not the pad token, from pad_token_id + 1; the mask is
        # multiplied in because a host may pad with another id.
        counted = attention_mask * (input_ids != self._position_offset).to(attention_mask.dtype)
        return counted.cumsum(dim=1) * counted + self._position_offset


def _counts_from_pad(config: PretrainedConfig) -> bool:
    """Whether position ids begin behind the pad id. ESM-2 is of such a family, but its rotary positions begin at 0."""
    kind = getattr(config, "position_embedding_type", "absolute")
    return config.model_type in OFFSET_POSITION_FAMILIES and kind == "absolute"


def _never_empty(attention_mask: Tensor) -> Tensor:
    """Show all of a fully padded row: ESM-2 divides by the number of tokens."""
    is_empty = attention_mask.sum(dim=1, keepdim=True) == 0
    return attention_mask + is_empty.to(attention_mask.dtype)


def adapt(source: Source, model: PreTrainedModel, spec: PoolingSpec) -> AdaptedModel:
    """Compose backbone and head.

    Raises:
        ExportError: an unknown classification head, or a backbone that no graph can be right for.
        SourceError: the weights of a head module are missing.
    """
    _refuse(model.config)
    if any(step.path == TEXT_PROJECTION for step in spec.steps):
        pooler = Pooler(spec, [Step(spec.steps[0], text_projection(model))])
        return AdaptedModel(cast(PreTrainedModel, model.text_model), pooler).eval()
    if not spec.has_classifier:
        late, sparse = spec.late_interaction, spec.sparse
        pooler = Pooler(
            spec,
            _build_steps(source, spec.steps),
            token_steps=_build_steps(source, spec.token_steps),
            vector_steps=_build_steps(source, late.steps if late is not None else ()),
            weight_steps=_build_steps(source, sparse.steps if sparse is not None else ()),
        )
        backbone = model
    else:
        is_made = spec.classifier_method is not None
        classifier = token_classifier(model, spec) if is_made else find_classifier(model)
        _require_width(model, classifier, spec)
        if is_own_code(model) and not is_made:
            require_own_forward(model, classifier)
        pooler = Pooler(spec, classifier=classifier)
        backbone = cast(PreTrainedModel, model.base_model)
    if is_bidirectional(source.files.architecture, source.files.config):
        require_bidirectional(backbone)
    return AdaptedModel(backbone, pooler).eval()


def _build_steps(source: Source, steps: Sequence[HeadStep]) -> list[Step]:
    return [Step(step, step_weights(source, step)) for step in steps]


def _require_width(model: PreTrainedModel, classifier: nn.Module, spec: PoolingSpec) -> None:
    with torch.no_grad():
        width = int(classifier(torch.zeros(1, spec.hidden_size * len(spec.pooling))).shape[-1])
    if width != spec.num_labels:
        raise ExportError(
            f"{type(model).__name__}: its head answers {width} number(s), config.json says {spec.num_labels} label(s); "
            f"""pass --hf-overrides '{{"num_labels": {width}}}'"""
        )


def _refuse(config: PretrainedConfig) -> None:
    """Turn away what is right for the gate's short texts only, or for no text beside another."""
    reason = UNEXPORTABLE.get(config.model_type)
    if getattr(config, "attention_type", None) == "block_sparse":
        # BigBird takes this path for long batches only; a graph has one path.
        reason = 'its attention is block-sparse; pass --hf-overrides \'{"attention_type": "original_full"}\''
    elif "longrope" in _rope_types(config):
        reason = "`longrope` chooses the rotary factors of all texts by the longest of their batch"
    if reason is not None:
        raise ExportError(f"{config.model_type} cannot be exported: {reason}")


def _rope_types(config: PretrainedConfig) -> set[str | None]:
    rope = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in rope.values() if isinstance(value, Mapping)]  # one for each kind of attention
    return {scope.get("rope_type") for scope in (rope, *nested)}


def step_weights(source: Source, step: HeadStep) -> dict[str, Tensor]:
    """Read the tensors of a sentence-transformers module, or of a head that is stored in another way.

    Raises:
        SourceError: its folder has no weight file.
    """
    if step.kind == "normalize":
        return {}
    folder = source.folder / step.path
    if step.path.endswith(".pt"):
        return _torch_file(folder)
    safe, pickled = (folder / name for name in STEP_WEIGHTS)
    if safe.is_file():
        return _own_tensors(load_file(safe), step)
    if pickled.is_file():
        return _own_tensors(_torch_file(pickled), step)
    raise SourceError(f"{folder} has neither {' nor '.join(STEP_WEIGHTS)}; its {step.kind} needs weights")


def _own_tensors(tensors: Mapping[str, Tensor], step: HeadStep) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if key.startswith(step.tensors)}


def _torch_file(path: Path) -> dict[str, Tensor]:
    """Read a torch file of tensors; anything else in it is refused, never run.

    Raises:
        SourceError: the file cannot be read as tensors.
    """
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SourceError(f"{path} cannot be read as a file of tensors ({type(error).__name__})") from error
    return tensors


def input_names(backbone: PreTrainedModel) -> tuple[str, ...]:
    """Graph inputs in contract order; segments only where the model embeds more than one."""
    names = ("input_ids", "attention_mask")
    takes_types = "token_type_ids" in inspect.signature(backbone.forward).parameters
    # XLNet compares segments with each other and embeds none.
    has_types = int(getattr(backbone.config, "type_vocab_size", 0) or 0) > 1 or backbone.config.model_type == "xlnet"
    return (*names, "token_type_ids") if takes_types and has_types else names
