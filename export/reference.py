"""The oracle of the parity gate: one unpadded text at a time, pooled by definition in float64.

Written apart from ``poolers/methods.py`` and ``heads.py`` on purpose. It has no masks, no padding
and no batch, so a mistake there cannot be repeated here; encoder classifiers go through the
model's own Hugging Face ``forward``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from ..poolers.architectures import FAMILY_POOLING
from ..poolers.spec import POOLING_ALIASES, HeadStep, PoolingSpec, PoolingType
from .adapters import input_names, step_weights
from .classifiers import find_classifier
from .functions import FUNCTIONS, unit
from .quiet import quiet
from .source import Source

Array = np.ndarray

POOLED: dict[PoolingType, Callable[[Array], Array]] = {
    "LAST": lambda states: states[-1],
    "CLS": lambda states: states[0],
    "MEAN": lambda states: states.mean(axis=0),
    "MAX": lambda states: states.max(axis=0),
    "MEAN_SQRT_LEN": lambda states: states.sum(axis=0) / np.sqrt(len(states)),
    "WEIGHTED_MEAN": lambda states: np.average(states, axis=0, weights=np.arange(1, len(states) + 1)),
    "ALL": lambda states: states,
    "STEP": lambda states: states,
}


@dataclass
class Reference:
    """A loaded model with its head, answered text by text."""

    source: Source
    model: PreTrainedModel
    spec: PoolingSpec
    _weights: dict[str, dict[str, Array]] = field(default_factory=dict)

    def outputs(self, ids: Sequence[int], type_ids: Sequence[int]) -> dict[str, Array]:
        """Compute one text's outputs.

        Args:
            ids: its token ids, no padding.
            type_ids: its segment ids.

        Returns:
            Every output of the graph contract without the batch axis, float64 (and
            ``unnormalized_embedding`` where the graph leaves it out, the two being the same).
        """
        spec = self.spec
        if spec.num_labels is not None:
            values = self._labels(ids, type_ids)
            return {"rewards": values} if spec.convert == "reward" else self._classified(values)
        states = self._hidden(self.model, ids, type_ids)
        if spec.convert == "reward":
            return {"rewards": states}
        tokens = self._project(states, spec.token_steps)
        raw = self._project(self._pooled(tokens), spec.steps)
        vector = unit(raw) if spec.use_activation else raw
        if spec.is_token_level:
            return {"token_embeddings": vector, "last_hidden_state": states}
        outputs = {"sentence_embedding": vector, "last_hidden_state": states, "unnormalized_embedding": raw}
        if spec.projects_tokens:
            outputs["token_embeddings"] = self._project(tokens, spec.steps)
        return outputs

    def _classified(self, logits: Array) -> dict[str, Array]:
        spec = self.spec
        calibrated = (logits - (spec.logit_mean or 0.0)) / (spec.logit_sigma or 1.0)
        return {"logits": logits, "probs": FUNCTIONS[spec.activation](calibrated)}

    def _labels(self, ids: Sequence[int], type_ids: Sequence[int]) -> Array:
        if not self.spec.has_classifier:
            tokens = self._project(self._hidden(self.model, ids, type_ids), self.spec.token_steps)
            return self._project(self._pooled(tokens), self.spec.steps)
        if self._is_native():
            with torch.no_grad(), quiet():
                return _numpy(self.model(**self._inputs(self.model.base_model, ids, type_ids)).logits[0])
        states = self._hidden(self.model.base_model, ids, type_ids)
        with torch.no_grad():
            rows = torch.from_numpy(np.atleast_2d(self._pooled(states)).astype(np.float32))
            values = _numpy(find_classifier(self.model)(rows))
        return values if self.spec.is_token_level else values[0]

    def _pooled(self, states: Array) -> Array:
        pooled: Array = np.concatenate([POOLED[kind](states) for kind in self.spec.pooling], axis=-1)
        return pooled

    def _is_native(self) -> bool:
        """Whether the class's own forward pools as the head does.

        Decoders pick the last token that is not the pad *id*, which differs from the last token
        where a text ends in it (tokenizers that append it as end of text), so they are composed.
        """
        family = self.source.files.model_type
        if type(self.model).__name__.endswith("ForTokenClassification"):
            return self.spec.pooling == ("ALL",)
        if self.spec.pools_logits:
            return True
        stated = getattr(self.model.config, "classifier_pooling", None) or FAMILY_POOLING.get(family, "")
        native = str(stated).upper()
        return self.spec.pooling == (POOLING_ALIASES.get(native, native),)

    def _hidden(self, backbone: torch.nn.Module, ids: Sequence[int], type_ids: Sequence[int]) -> Array:
        with torch.no_grad(), quiet():
            return _numpy(backbone(**self._inputs(backbone, ids, type_ids)).last_hidden_state[0])

    def _inputs(
        self, backbone: torch.nn.Module, ids: Sequence[int], type_ids: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        rows = {"input_ids": torch.tensor([list(ids)]), "token_type_ids": torch.tensor([list(type_ids)])}
        rows["attention_mask"] = torch.ones_like(rows["input_ids"])
        return {name: rows[name] for name in input_names(backbone)}  # type: ignore[arg-type]

    def _project(self, vectors: Array, steps: Sequence[HeadStep]) -> Array:
        for step in steps:
            vectors = self._step(step, vectors)
        return vectors

    def _step(self, step: HeadStep, vectors: Array) -> Array:
        if step.kind == "normalize":
            return unit(vectors)
        if step.path not in self._weights:
            tensors = {key: _numpy(value) for key, value in step_weights(self.source, step).items()}
            # `linear.weight`, `norm.weight` or bare; the matrix beside a residual keeps its name.
            own = {key.removeprefix("linear.").removeprefix("norm."): value for key, value in tensors.items()}
            self._weights[step.path] = own
        weights = self._weights[step.path]
        if step.kind == "layer_norm":
            centred = vectors - vectors.mean(axis=-1, keepdims=True)
            scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)  # torch's default epsilon
            result: Array = scaled * weights["weight"] + weights["bias"]
            return result
        projected = FUNCTIONS[step.activation](vectors @ weights["weight"].T + weights.get("bias", np.zeros(1)))
        if not step.residual:
            return projected
        added = vectors @ weights["residual.weight"].T if "residual.weight" in weights else vectors
        total: Array = projected + added
        return total


def _numpy(tensor: torch.Tensor) -> Array:
    result: Array = tensor.detach().to(torch.float64).numpy()
    return result
