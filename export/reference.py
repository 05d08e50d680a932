"""The oracle of the parity gate: one unpadded text at a time, pooled by definition in float64.

Written apart from ``poolers/methods.py`` and ``heads.py`` on purpose. It has no masks, no padding
and no batch, so a mistake there cannot be repeated here; encoder classifiers go through the
model's own Hugging Face ``forward``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ..poolers.architectures import FAMILY_POOLING, is_bidirectional
from ..poolers.parts import HeadStep
from ..poolers.spec import POOLING_ALIASES, PoolingSpec
from .adapters import input_names, step_weights
from .bidirectional import explicit_mask
from .classifiers import find_classifier
from .functions import FUNCTIONS, unit
from .oracle import Array, pooled
from .quiet import quiet
from .source import Source
from .value_heads import ValueModel, value_head_tensors


@dataclass
class Reference:
    """A loaded model with its head, answered text by text."""

    source: Source
    model: PreTrainedModel
    spec: PoolingSpec
    _weights: dict[str, dict[str, Array]] = field(default_factory=dict)
    _layers: list[dict[str, Array]] = field(default_factory=list)

    def outputs(
        self, ids: Sequence[int], type_ids: Sequence[int], *, unattended: int = 0, prompt_length: int = 0
    ) -> dict[str, Array]:
        """Compute one text's outputs.

        Args:
            ids: its token ids, no padding.
            type_ids: its segment ids.
            unattended: how many tokens at its end the model does not attend to (ColBERT's query
                expansion); their positions and vectors are the model's own.
            prompt_length: leading tokens that stay out of an embedding's pooling.

        Returns:
            Every output of the graph contract without the batch axis, float64 (and
            ``unnormalized_embedding`` where the graph leaves it out, the two being the same).
        """
        spec = self.spec
        if spec.num_labels is not None:
            values = self._labels(ids, type_ids)
            return {"rewards": values} if spec.convert == "reward" else self._classified(values)
        if spec.is_sparse_only:
            return {"sparse_embedding": self._splade(ids, type_ids)}
        states = self._hidden(self.model, ids, type_ids, unattended)
        if spec.convert == "reward":
            return {"rewards": states}
        tokens = self._project(states, spec.token_steps)
        raw = self._project(pooled(tokens[prompt_length:], spec.pooling, prompt_length), spec.steps)
        vector = unit(raw) if spec.use_activation else raw
        if spec.is_token_level:
            return {"token_embeddings": vector, "last_hidden_state": states}
        outputs = {"sentence_embedding": vector, "last_hidden_state": states, "unnormalized_embedding": raw}
        if spec.projects_tokens:
            outputs["token_embeddings"] = self._project(tokens, spec.steps)
        return outputs | self._beside(states)

    def _beside(self, states: Array) -> dict[str, Array]:
        """bge-m3's two further heads, as FlagEmbedding computes them."""
        outputs = {}
        late, sparse = self.spec.late_interaction, self.spec.sparse
        if late is not None and late.steps:
            outputs["token_embeddings"] = unit(self._project(states, late.steps))
        if sparse is not None and sparse.steps:
            outputs["token_weights"] = self._project(states, sparse.steps)[:, 0]
        return outputs

    def _splade(self, ids: Sequence[int], type_ids: Sequence[int]) -> Array:
        sparse = self.spec.sparse
        if sparse is None:
            raise ValueError("a SPLADE head without its settings")
        with torch.no_grad(), quiet():
            logits = _numpy(self.model(**self._inputs(self.model, ids, type_ids)).logits[0])
        weights = np.log1p(np.maximum(logits, 0.0))
        if sparse.function == "log1p_relu":
            weights = np.log1p(weights)
        pooled: Array = weights.sum(axis=0) if sparse.strategy == "sum" else weights.max(axis=0)
        return pooled

    def _classified(self, logits: Array) -> dict[str, Array]:
        spec = self.spec
        calibrated = (logits - (spec.logit_mean or 0.0)) / (spec.logit_sigma or 1.0)
        return {"logits": logits, "probs": FUNCTIONS[spec.activation](calibrated)}

    def _labels(self, ids: Sequence[int], type_ids: Sequence[int]) -> Array:
        if not self.spec.has_classifier:
            tokens = self._project(self._hidden(self.model, ids, type_ids), self.spec.token_steps)
            return self._project(pooled(tokens, self.spec.pooling), self.spec.steps)
        if self.spec.classifier_method is not None:
            return self._token_logits(ids, type_ids)
        if self._is_native():
            with torch.no_grad(), quiet():
                return _numpy(self.model(**self._inputs(self.model.base_model, ids, type_ids)).logits[0])
        states = self._hidden(self.model.base_model, ids, type_ids)
        if isinstance(self.model, ValueModel):
            return self._value(pooled(states, self.spec.pooling))
        with torch.no_grad():
            rows = torch.from_numpy(np.atleast_2d(pooled(states, self.spec.pooling)).astype(np.float32))
            values = _numpy(find_classifier(self.model)(rows))
        return values if self.spec.is_token_level else values[0]

    def _token_logits(self, ids: Sequence[int], type_ids: Sequence[int]) -> Array:
        """The language model's own logits over the whole vocabulary, of which the chosen tokens' are kept."""
        with torch.no_grad(), quiet():
            logits = self.model(**self._inputs(self.model.base_model, ids, type_ids)).logits[0]
        values = _numpy(logits[:, list(self.spec.classifier_token_ids)])
        if self.spec.classifier_method == "from_2_way_softmax":
            values = values[:, 1:] - values[:, :1]
        return values if self.spec.is_token_level else values[-1]

    def _value(self, vectors: Array) -> Array:
        """A value head from the checkpoint's tensors: Linear layers, a ReLU between two."""
        if not self._layers:
            found = value_head_tensors(self.source.model_folder, self.source.files.architecture)
            self._layers.extend({name: _numpy(value) for name, value in tensors.items()} for tensors in found)
        for index, layer in enumerate(self._layers):
            vectors = np.maximum(vectors, 0.0) if index else vectors
            vectors = vectors @ layer["weight"].T + layer.get("bias", np.zeros(1))
        return vectors

    def _is_native(self) -> bool:
        """Whether the class's own forward pools as the head does.

        Decoders pick the last token that is not the pad *id*, which differs from the last token
        where a text ends in it (tokenizers that append it as end of text), so they are composed.
        """
        family = self.source.files.model_type
        if isinstance(self.model, ValueModel):
            return False
        if type(self.model).__name__.endswith("ForTokenClassification"):
            return self.spec.pooling == ("ALL",)
        if self.spec.pools_logits:
            return True
        stated = getattr(self.model.config, "classifier_pooling", None) or FAMILY_POOLING.get(family, "")
        native = str(stated).upper()
        return self.spec.pooling == (POOLING_ALIASES.get(native, native),)

    def _hidden(
        self, backbone: torch.nn.Module, ids: Sequence[int], type_ids: Sequence[int], unattended: int = 0
    ) -> Array:
        with torch.no_grad(), quiet():
            return _numpy(backbone(**self._inputs(backbone, ids, type_ids, unattended)).last_hidden_state[0])

    def _inputs(
        self, backbone: torch.nn.Module, ids: Sequence[int], type_ids: Sequence[int], unattended: int = 0
    ) -> dict[str, Any]:
        rows: dict[str, Any] = {
            "input_ids": torch.tensor([list(ids)]),
            "token_type_ids": torch.tensor([list(type_ids)]),
        }
        rows["attention_mask"] = torch.ones_like(rows["input_ids"])
        rows["attention_mask"][:, len(ids) - unattended :] = 0
        if is_bidirectional(self.source.files.architecture, self.source.files.config):
            # Spelt out pair by pair: nothing is left to how a model reads its config.
            rows["attention_mask"] = explicit_mask(self.model.config, len(ids))
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
