"""The pooling head composed: method -> steps or classifier -> activation (torch).

One class for every combination; what differs is data (the ``PoolingSpec``) and the classifier
module that the adapter found in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .heads import ACTIVATION_FUNCTIONS, Step, calibrate, normalize
from .methods import clear_padding, pool, splade
from .spec import PoolingSpec


class Pooler(nn.Module):
    """Hidden states and mask in, the graph's named outputs out.

    The output names, shapes and order are the graph contract (``docs/design.md`` section 5).
    """

    def __init__(
        self,
        spec: PoolingSpec,
        steps: Sequence[Step] = (),
        classifier: nn.Module | None = None,
        *,
        token_steps: Sequence[Step] = (),
        vector_steps: Sequence[Step] = (),
        weight_steps: Sequence[Step] = (),
    ) -> None:
        """Compose the head.

        Args:
            spec: the resolved head.
            steps: modules after pooling, built from ``spec.steps``.
            classifier: maps float32 ``[..., hidden]`` to ``[..., num_labels]``; ``None`` for
                ``embed``, for a headless ``reward`` and where the steps are the classifier.
            token_steps: modules before pooling, built from ``spec.token_steps``.
            vector_steps: the projection of ``spec.late_interaction`` beside a pooled vector.
            weight_steps: the layer of ``spec.sparse`` that weighs a token.
        """
        super().__init__()
        self.spec = spec
        self.steps = nn.ModuleList(steps)
        self.token_steps = nn.ModuleList(token_steps)
        self.vector_steps = nn.ModuleList(vector_steps)
        self.weight_steps = nn.ModuleList(weight_steps)
        self.classifier = classifier if classifier is not None else nn.Identity()

    def forward(self, hidden: Tensor, attention_mask: Tensor, pooling_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the outputs, all float32.

        Args:
            hidden: ``[batch_size, sequence_length, hidden]``, any float dtype (SPLADE: the logits).
            attention_mask: int64 ``[batch_size, sequence_length]``.
            pooling_mask: int64, same shape, for heads that leave a prompt's tokens out (embed).
        """
        states = hidden.to(torch.float32)
        if self.spec.convert == "embed":
            return self._embed(states, attention_mask, pooling_mask)
        if self.spec.pools_logits:
            values = pool(self.classifier(states), attention_mask, self.spec.pooling)
        else:
            values = self.classifier(
                self._project(pool(_apply(self.token_steps, states), attention_mask, self.spec.pooling))
            )
        if self.spec.convert == "reward":
            # Rows of padding are defined (zero) so that no host sums up garbage.
            return {"rewards": clear_padding(values, attention_mask)}
        calibrated = calibrate(values, self.spec.logit_mean, self.spec.logit_sigma)
        return {"logits": values, "probs": ACTIVATION_FUNCTIONS[self.spec.activation](calibrated)}

    def _embed(self, states: Tensor, mask: Tensor, pooling_mask: Tensor | None) -> dict[str, Tensor]:
        sparse = self.spec.sparse
        if self.spec.is_sparse_only and sparse is not None:
            return {"sparse_embedding": splade(states, mask, sparse.strategy, sparse.function)}
        tokens = _apply(self.token_steps, states)
        if self.spec.is_token_level:
            vectors = self._activate(self._project(tokens))
            return {"token_embeddings": clear_padding(vectors, mask), "last_hidden_state": states}
        raw = self._project(pool(tokens, mask, self.spec.pooling, pooling_mask))
        outputs = {"sentence_embedding": self._activate(raw), "last_hidden_state": states}
        if self.spec.projects_tokens:
            outputs["token_embeddings"] = self._project(tokens)
        outputs |= self._further(states, mask)
        if self.spec.use_activation:
            outputs["unnormalized_embedding"] = raw
        return outputs

    def _further(self, states: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """bge-m3's heads beside the pooled vector: a unit vector and a weight per token, zero on padding."""
        outputs: dict[str, Tensor] = {}
        if len(self.vector_steps):
            outputs["token_embeddings"] = clear_padding(normalize(_apply(self.vector_steps, states)), mask)
        if len(self.weight_steps):
            outputs["token_weights"] = clear_padding(_apply(self.weight_steps, states), mask).squeeze(-1)
        return outputs

    def _project(self, vectors: Tensor) -> Tensor:
        return _apply(self.steps, vectors)

    def _activate(self, vectors: Tensor) -> Tensor:
        return normalize(vectors) if self.spec.use_activation else vectors


def _apply(steps: nn.ModuleList, vectors: Tensor) -> Tensor:
    for step in steps:
        vectors = step(vectors)
    return vectors
