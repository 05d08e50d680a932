"""A classifier made of a language model's output layer: one or two rows of it, and none of the rest.

The full layer is ``[vocabulary, hidden]``, a quarter of a small model; a reranker reads one or two rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..poolers.errors import ConfigError
from ..poolers.spec import PoolingSpec
from .errors import ExportError


def with_row_ids(spec: PoolingSpec, tokenizer: PreTrainedTokenizerBase) -> PoolingSpec:
    """Fill in the ids of the tokens that a classifier is made of.

    vLLM takes the unknown token's row for a word that is not in the vocabulary; here it is an error.

    Raises:
        ConfigError: a token that is not exactly one entry of the vocabulary.
    """
    if not spec.classifier_tokens:
        return spec
    vocabulary = tokenizer.get_vocab()
    for token in spec.classifier_tokens:
        if token not in vocabulary:
            pieces = tokenizer.tokenize(token)
            raise ConfigError(
                f"classifier_from_token: {token!r} is not one entry of the vocabulary (it becomes {pieces}); "
                "name the entry itself, as the vocabulary spells it"
            )
    return dataclasses.replace(spec, classifier_token_ids=tuple(vocabulary[token] for token in spec.classifier_tokens))


class TokenClassifier(nn.Module):
    """Logits of the chosen tokens, or the second's minus the first's; float32 ``[..., hidden]`` in."""

    def __init__(self, rows: nn.Module, finish: Callable[[Tensor], Tensor] | None, is_difference: bool) -> None:
        """Compose the head.

        Args:
            rows: maps ``[..., hidden]`` to the tokens' logits.
            finish: what the family does to every logit; ``None`` for nothing.
            is_difference: whether one number is left, ``logit[1] - logit[0]``.
        """
        super().__init__()
        self.rows = rows
        self.finish = finish
        self.is_difference = is_difference

    def forward(self, vectors: Tensor) -> Tensor:
        """Compute the logits."""
        logits: Tensor = self.rows(vectors)
        if self.finish is not None:
            logits = self.finish(logits)
        return logits[..., 1:] - logits[..., :1] if self.is_difference else logits


def token_classifier(model: PreTrainedModel, spec: PoolingSpec) -> nn.Module:
    """Cut the output layer of a causal LM to the rows of the classifier, in float32.

    What the family's own ``forward`` does to its logits afterwards (soft-capping, scaling) is kept; vLLM's
    converted classifiers leave it out.

    Raises:
        ExportError: an id outside the vocabulary, or an output layer that does not read the hidden states.
    """
    before, layer = _output_layer(model)
    ids = list(spec.classifier_token_ids)
    if max(ids) >= layer.out_features:
        raise ExportError(f"token id {max(ids)} is outside the {layer.out_features} rows of the output layer")
    weight = layer.weight.detach()[ids].to(torch.float32)
    full_bias = cast(Tensor | None, layer.bias)  # typed as always there
    bias = None if full_bias is None else full_bias.detach()[ids].to(torch.float32)
    is_difference = spec.classifier_method == "from_2_way_softmax"
    finish = _finish(model.config)
    if finish is None and is_difference:
        weight = weight[1:] - weight[:1]  # one row, as vLLM folds it
        bias = None if bias is None else bias[1:] - bias[:1]
        is_difference = False
    rows = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    rows.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    whole = rows if before is None else nn.Sequential(before.to(torch.float32), rows)
    return TokenClassifier(whole, finish, is_difference) if finish is not None or is_difference else whole


def _output_layer(model: PreTrainedModel) -> tuple[nn.Module | None, nn.Linear]:
    """Return the layer ``[vocabulary, hidden]``, and what stands between it and the hidden states."""
    layer = model.get_output_embeddings()
    own = {name: child for name, child in model.named_children() if child is not model.base_model}
    before = [child for child in own.values() if child is not layer]
    if not isinstance(layer, nn.Linear) or layer not in own.values():
        raise ExportError(f"{type(model).__name__}: no output layer among its modules {sorted(own)}")
    if not before:
        return None, layer
    if model.config.model_type == "modernbert-decoder":  # dense, activation and norm, then the vocabulary
        return before[0], layer
    raise ExportError(
        f"{type(model).__name__}: its output layer does not read the hidden states alone, modules {sorted(own)}"
    )


def _finish(config: PreTrainedConfig) -> Callable[[Tensor], Tensor] | None:
    """What a family's ``forward`` does to every logit: Gemma 2 caps, Cohere multiplies, Granite divides."""
    cap = getattr(config, "final_logit_softcapping", None)
    if cap:
        return lambda logits: torch.tanh(logits / cap) * cap
    if config.model_type in ("cohere", "cohere2"):
        return lambda logits: logits * config.logit_scale
    if config.model_type == "hyperclovax":
        return lambda logits: logits * config.logits_scaling
    divisor = getattr(config, "logits_scaling", None)
    if divisor is not None and divisor != 1:
        return lambda logits: logits / divisor
    return None
