"""The pooling head composed: method -> steps or classifier -> activation (torch).

One class for every combination; what differs is data (the ``PoolingSpec``) and the classifier
module that the adapter found in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .heads import ACTIVATION_FUNCTIONS, Step, calibrate, normalize
from .methods import clear_padding, pool
from .spec import PoolingSpec


class Pooler(nn.Module):
    """Hidden states and mask in, the graph's named outputs out.

    The output names, shapes and order are the graph contract (``docs/design.md`` section 5).
    """

    def __init__(self, spec: PoolingSpec, steps: Sequence[Step] = (), classifier: nn.Module | None = None) -> None:
        """Compose the head.

        Args:
            spec: the resolved head.
            steps: modules of an ``embed`` head, built from ``spec.steps``.
            classifier: maps float32 ``[..., hidden]`` to ``[..., num_labels]``; ``None`` for
                ``embed`` and for a headless ``reward``.
        """
        super().__init__()
        self.spec = spec
        self.steps = nn.ModuleList(steps)
        self.classifier = classifier if classifier is not None else nn.Identity()

    def forward(self, hidden: Tensor, attention_mask: Tensor, pooling_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the outputs, all float32.

        Args:
            hidden: ``[batch_size, sequence_length, hidden]``, any float dtype.
            attention_mask: int64 ``[batch_size, sequence_length]``.
            pooling_mask: int64, same shape, for heads that leave a prompt's tokens out (embed).
        """
        states = hidden.to(torch.float32)
        if self.spec.convert == "embed":
            return self._embed(states, attention_mask, pooling_mask)
        values = self.classifier(pool(states, attention_mask, self.spec.pooling))
        if self.spec.convert == "reward":
            # Rows of padding are defined (zero) so that no host sums up garbage.
            return {"rewards": clear_padding(values, attention_mask)}
        calibrated = calibrate(values, self.spec.logit_mean, self.spec.logit_sigma)
        return {"logits": values, "probs": ACTIVATION_FUNCTIONS[self.spec.activation](calibrated)}

    def _embed(self, states: Tensor, mask: Tensor, pooling_mask: Tensor | None) -> dict[str, Tensor]:
        if self.spec.is_token_level:
            tokens = self._activate(self._project(states))
            return {"token_embeddings": clear_padding(tokens, mask), "last_hidden_state": states}
        raw = self._project(pool(states, mask, self.spec.pooling, pooling_mask))
        outputs = {"sentence_embedding": self._activate(raw), "last_hidden_state": states}
        if self.steps and len(self.spec.pooling) == 1:
            outputs["token_embeddings"] = self._project(states)
        if self.spec.use_activation:
            outputs["unnormalized_embedding"] = raw
        return outputs

    def _project(self, vectors: Tensor) -> Tensor:
        for step in self.steps:
            vectors = step(vectors)
        return vectors

    def _activate(self, vectors: Tensor) -> Tensor:
        return normalize(vectors) if self.spec.use_activation else vectors
