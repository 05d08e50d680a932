"""The oracle of an adopted graph: the original file in onnxruntime, one unpadded text at a time.

It shares nothing with the surgery but the reading of weights: no mask, no padding, no batch, pooled by definition
in float64 numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...poolers.architectures import OFFSET_POSITION_FAMILIES
from ...poolers.parts import HeadStep
from ...poolers.spec import PoolingSpec
from ...runtime.backends.providers import load_onnxruntime
from ...runtime.errors import first_line
from ...runtime.system import available_cpus
from ..errors import ParityError, SourceError
from ..functions import FUNCTIONS
from ..oracle import Array, pooled
from ..source import Source
from .weights import step_arrays

_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": np.bool_}

# How close the files' head must come to a pooled output of the graph's own, as a cosine.
_OWN_COSINE = 0.999


class OriginalOracle:
    """Answers of the original graph. Each text is computed once; several graphs are compared with it."""

    def __init__(self, path: Path, answer: str, source: Source, spec: PoolingSpec) -> None:
        """Open the file.

        Args:
            path: the graph as it was found.
            answer: the output that the head follows.
            source: the checkpoint's files.
            spec: the resolved head.

        Raises:
            SourceError: onnxruntime cannot load it.
        """
        runtime = load_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = available_cpus()
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise SourceError(f"{path} cannot be loaded by onnxruntime: {first_line(error)}") from error
        self._path, self._answer, self._source, self._spec = path, answer, source, spec
        self._inputs = {item.name: _DTYPES.get(item.type, np.int64) for item in self._session.get_inputs()}
        outputs = {item.name for item in self._session.get_outputs()}
        # sentence-transformers' own export pools as well: a second opinion on the head that the files describe.
        checks = spec.convert == "embed" and not spec.is_token_level and spec.sources.get("pooling") != "user"
        self._own = "sentence_embedding" if checks and "sentence_embedding" in outputs else None
        self._weights: dict[str, dict[str, Array]] = {}
        self._answers: dict[tuple[tuple[int, ...], tuple[int, ...]], dict[str, Array]] = {}

    def outputs(
        self, ids: Sequence[int], type_ids: Sequence[int], *, unattended: int = 0, prompt_length: int = 0
    ) -> dict[str, Array]:
        """Compute one text's outputs.

        Args:
            ids: its token ids, no padding.
            type_ids: its segment ids.
            unattended: no adopted head has such tokens (``known.py``).
            prompt_length: nor one that leaves a prompt out.

        Returns:
            Every output of the graph contract without the batch axis, float64.

        Raises:
            ParityError: the original fails, or pools otherwise than the files say.
        """
        key = (tuple(ids), tuple(type_ids))
        if key not in self._answers:
            self._answers[key] = self._compute(ids, type_ids)
        return self._answers[key]

    def _compute(self, ids: Sequence[int], type_ids: Sequence[int]) -> dict[str, Array]:
        spec = self._spec
        values, own = self._run(ids, type_ids)
        if spec.convert == "reward":
            return {"rewards": values}
        if spec.convert == "classify":
            calibrated = (values - (spec.logit_mean or 0.0)) / (spec.logit_sigma or 1.0)
            return {"logits": values, "probs": FUNCTIONS[spec.activation](calibrated)}
        raw = self._project(pooled(values, spec.pooling))
        vector = FUNCTIONS["normalize"](raw) if spec.use_activation else raw
        if spec.is_token_level:
            return {"token_embeddings": vector, "last_hidden_state": values}
        if own is not None:
            self._agree(raw, own)
        outputs = {"sentence_embedding": vector, "last_hidden_state": values, "unnormalized_embedding": raw}
        if spec.steps and len(spec.pooling) == 1:
            outputs["token_embeddings"] = self._project(values)
        return outputs

    def _run(self, ids: Sequence[int], type_ids: Sequence[int]) -> tuple[Array, Array | None]:
        rows = {
            "input_ids": np.array([ids]),
            "attention_mask": np.ones((1, len(ids))),
            "token_type_ids": np.array([type_ids]),
            "position_ids": self._positions(ids),
        }
        feeds: dict[str, Array] = {name: rows[name].astype(kind) for name, kind in self._inputs.items()}
        names = [self._answer] + ([self._own] if self._own else [])
        try:
            found: list[Any] = self._session.run(names, feeds)
        except Exception as error:
            raise ParityError(
                f"the original {self._path} fails on a text of {len(ids)} tokens: {first_line(error)}; "
                "a lower --max-model-len may be within its range"
            ) from error
        values = [np.asarray(value[0], np.float64) for value in found]
        return values[0], values[1] if self._own else None

    def _positions(self, ids: Sequence[int]) -> Array:
        config = self._source.files.config
        absolute = config.get("position_embedding_type", "absolute") == "absolute"
        if self._source.files.model_type not in OFFSET_POSITION_FAMILIES or not absolute:
            return np.arange(len(ids))[None]
        positions, number, pad = [], int(config["pad_token_id"]), int(config["pad_token_id"])
        for token in ids:
            number += token != pad
            positions.append(pad if token == pad else number)
        return np.array([positions])

    def _agree(self, raw: Array, own: Array) -> None:
        same_width = own.shape == raw.shape
        cosine = float(FUNCTIONS["normalize"](raw) @ FUNCTIONS["normalize"](own)) if same_width else -1.0
        if cosine < _OWN_COSINE:
            spec, measured = self._spec, f": cosine {cosine:.4f}" if same_width else ""
            raise ParityError(
                f"{self._path} answers a sentence_embedding of its own, {own.shape[-1]} numbers, and the head that the "
                f"files describe (pooling {' + '.join(spec.pooling)} from {spec.sources.get('pooling')}, "
                f"{len(spec.steps)} modules, {raw.shape[-1]} numbers) gives another{measured}. Add the "
                "missing sentence-transformers files (modules.json and its folders), or choose by --pooler-config"
            )

    def _project(self, vectors: Array) -> Array:
        for step in self._spec.steps:
            vectors = self._step(step, vectors)
        return vectors

    def _step(self, step: HeadStep, vectors: Array) -> Array:
        if step.kind == "normalize":
            return FUNCTIONS["normalize"](vectors)
        if step.path not in self._weights:
            arrays = step_arrays(self._source, step)
            self._weights[step.path] = {name: array.astype(np.float64) for name, array in arrays.items()}
        weights = self._weights[step.path]
        if step.kind == "layer_norm":
            centred = vectors - vectors.mean(axis=-1, keepdims=True)
            scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
            result: Array = scaled * weights["weight"] + weights["bias"]
            return result
        return FUNCTIONS[step.activation](vectors @ weights["weight"].T + weights.get("bias", 0.0))
