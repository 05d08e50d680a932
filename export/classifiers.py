"""Find a checkpoint's classification head by its structure.

A small table of recipes, first match wins. Each maps float32 ``[..., hidden]`` to
``[..., num_labels]``, so that it can follow any pooling method, under padding on either side (the
models' own forwards read position 0).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .errors import ExportError
from .value_heads import LINEAR_HEADS


class _AsFirstToken(nn.Module):
    """Apply a head that reads ``[:, 0]`` of a sequence to vectors ``[..., hidden]``."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, vectors: Tensor) -> Tensor:
        rows = vectors.reshape(-1, 1, vectors.shape[-1])
        result: Tensor = self.head(rows)
        return result.reshape(*vectors.shape[:-1], result.shape[-1])


def _child(owner: nn.Module, name: str, kind: type[nn.Module] = nn.Module) -> nn.Module | None:
    """A direct submodule by name, if there is one of that kind."""
    found = getattr(owner, name, None)
    return found if isinstance(found, kind) else None


def _score(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """Decoders: ``score``."""
    return _child(model, "score")


def _value_head(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """Reward models: a Linear named ``v_head`` (InternLM2) or one of its kin, or in its ``summary`` (trl)."""
    for name in LINEAR_HEADS:
        head = _child(model, name)
        if head is not None:
            return head if isinstance(head, nn.Linear) else _child(head, "summary", nn.Linear)
    return None


def _per_token(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """Token classification: ``classifier`` on every token, after ModernBERT's ``head`` if there is one."""
    head, classifier = _child(model, "head"), _child(model, "classifier", nn.Linear)
    if classifier is None or not type(model).__name__.endswith("ForTokenClassification"):
        return None
    return classifier if head is None else nn.Sequential(head, classifier)


def _pre_classifier(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """DistilBERT: ``pre_classifier`` -> ReLU -> ``classifier``."""
    before, classifier = _child(model, "pre_classifier", nn.Linear), _child(model, "classifier", nn.Linear)
    return nn.Sequential(before, nn.ReLU(), classifier) if before is not None and classifier is not None else None


def _prediction_head(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """ModernBERT: ``head`` -> ``classifier``."""
    head, classifier = _child(model, "head"), _child(model, "classifier", nn.Linear)
    return nn.Sequential(head, classifier) if head is not None and classifier is not None else None


def _dense_classifier(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """EuroBERT: ``dense`` -> ``activation`` -> ``classifier``."""
    dense, activation = _child(model, "dense", nn.Linear), _child(model, "activation")
    classifier = _child(model, "classifier", nn.Linear)
    if dense is None or activation is None or classifier is None:
        return None
    return nn.Sequential(dense, activation, classifier)


def _pooler_classifier(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """BERT: the base model's ``pooler`` (dense, tanh) -> ``classifier``; DeBERTa: the model's own ``pooler``."""
    pooler, classifier = _child(base, "pooler") or _child(model, "pooler"), _child(model, "classifier", nn.Linear)
    if pooler is None or classifier is None or _child(pooler, "dense", nn.Linear) is None:
        return None
    return nn.Sequential(_AsFirstToken(pooler), classifier)


def _linear_pooler(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """ALBERT: the base model's ``pooler`` is a Linear, its ``pooler_activation`` beside it -> ``classifier``."""
    pooler, activation = _child(base, "pooler", nn.Linear), _child(base, "pooler_activation")
    classifier = _child(model, "classifier", nn.Linear)
    if pooler is None or activation is None or classifier is None:
        return None
    return nn.Sequential(pooler, activation, classifier)


def _classification_head(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """RoBERTa, XLM-R, MPNet, ELECTRA: a ``classifier`` module that reads the first token."""
    head = _child(model, "classifier")
    if head is None or _child(head, "dense", nn.Linear) is None or _child(head, "out_proj", nn.Linear) is None:
        return None
    return _AsFirstToken(head)


def _sequence_summary(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """XLM, FlauBERT: ``sequence_summary`` of one token; XLNet: followed by ``logits_proj``."""
    summary = _child(model, "sequence_summary")
    if summary is None:
        return None
    projection = _child(model, "logits_proj", nn.Linear) or nn.Identity()
    return nn.Sequential(_AsFirstToken(summary), projection)


def _lone_classifier(model: PreTrainedModel, base: nn.Module) -> nn.Module | None:
    """CTRL: nothing but a ``classifier`` beside the base model."""
    classifier = _child(model, "classifier", nn.Linear)
    own = {name for name, child in model.named_children() if child is not base}
    return classifier if own == {"classifier"} and _child(base, "pooler") is None else None


RECIPES: tuple[Callable[[PreTrainedModel, nn.Module], nn.Module | None], ...] = (
    _score,
    _value_head,
    _per_token,
    _pre_classifier,
    _prediction_head,
    _dense_classifier,
    _pooler_classifier,
    _linear_pooler,
    _classification_head,
    _sequence_summary,
    _lone_classifier,
)


def find_classifier(model: PreTrainedModel) -> nn.Module:
    """Return the checkpoint's classifier as a module over vectors.

    Raises:
        ExportError: no recipe fits; the message names the class and its modules.
    """
    base = model.base_model
    for recipe in RECIPES:
        head = recipe(model, base)
        if head is not None:
            return head.to(torch.float32)
    own = [name for name, _ in model.named_children()]
    raise ExportError(f"{type(model).__name__}: no known classification head among its modules {own}")
