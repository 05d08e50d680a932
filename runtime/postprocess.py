"""What stays on the host because it is per request: activation switch, Matryoshka slice, STEP selection.

Pure numpy on one text's outputs. vLLM's order: columns, rows, calibration, slice, activation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..poolers.spec import PoolingSpec, Task
from .errors import InputError
from .params import PoolingParams

Array = np.ndarray

_NORM_EPS = 1e-12


def normalize(vectors: Array) -> Array:
    """Scale the last dimension to unit L2 norm (``x / max(norm, 1e-12)``, as the graph does)."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Array = (vectors / np.maximum(norms, _NORM_EPS)).astype(np.float32)
    return result


def softmax_or_sigmoid(logits: Array) -> Array:
    """vLLM's "classify" rule over the last dimension: sigmoid for one logit, softmax for more."""
    if logits.shape[-1] < 2:
        result: Array = (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        return result
    shifted = logits.astype(np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True, initial=-np.inf))
    probabilities: Array = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities


def required_output(task: Task, spec: PoolingSpec, available: Sequence[str], params: PoolingParams) -> str:
    """Name the one graph output a request needs.

    Raises:
        InputError: the graph does not hold what is asked (an un-normalised token vector after
            Dense layers, say).
    """
    active = is_active(task, spec, params)
    if task == "embed":
        name = "unnormalized_embedding" if spec.use_activation and not active else "sentence_embedding"
    elif task in ("token_embed", "encode") and spec.convert == "embed":
        if spec.is_token_level and active == spec.use_activation:
            name = "token_embeddings"
        else:
            name = "token_embeddings" if spec.steps and not spec.is_token_level else "last_hidden_state"
            if spec.steps and spec.is_token_level:
                raise InputError("this bundle holds activated token embeddings only; leave `use_activation` unset")
    elif spec.convert == "reward":
        name = "rewards"
    else:
        name = "probs" if active else "logits"
    if name not in available:
        raise InputError(f"the graph has no output {name!r} (it has {', '.join(available)}); export the model again")
    return name


def is_active(task: Task, spec: PoolingSpec, params: PoolingParams) -> bool:
    """Whether the head's last function applies: request, else the model's default, else the task's.

    ``encode`` and ``reward`` return states as they are unless asked (the seed page's table;
    vLLM 0.11's code applied a softmax there, which its documentation denies).
    """
    switch = params.switch()
    if switch is not None:
        return switch
    if task == "encode" or spec.convert == "reward":
        return False
    return spec.use_activation


def finish(task: Task, spec: PoolingSpec, params: PoolingParams, name: str, value: Array, ids: Sequence[int]) -> Array:
    """Turn one text's graph output into what the caller gets.

    Args:
        task: the request's task.
        spec: the head.
        params: the request's parameters (checked).
        name: the graph output, as ``required_output`` named it.
        value: the text's row of that output.
        ids: the text's token ids (STEP rows).

    Returns:
        float32: ``[dim]``, ``[num_labels]``, ``[num_tokens, dim]`` or ``[num_steps, k]``.
    """
    active = is_active(task, spec, params)
    if spec.convert == "embed":
        return _finish_embedding(value, name, spec, params, active)
    if spec.convert == "reward":
        value = _select_steps(value, spec, params, ids)
        return softmax_or_sigmoid(value) if active else value
    if name == "probs":
        return value
    if spec.logit_mean is not None:
        value = value - np.float32(spec.logit_mean)
    if spec.logit_sigma is not None:
        value = value / np.float32(spec.logit_sigma)
    return value


def _finish_embedding(value: Array, name: str, spec: PoolingSpec, params: PoolingParams, active: bool) -> Array:
    dimensions = params.dimensions if params.dimensions is not None else spec.dimensions
    done = spec.use_activation and name in ("sentence_embedding", "token_embeddings")
    if name == "token_embeddings" and not spec.is_token_level:
        done = False  # beside a pooled vector they are the projected, un-normalised states
    if dimensions is not None and dimensions < value.shape[-1]:
        value, done = value[..., :dimensions], False
    return normalize(value) if active and not done else value


def _select_steps(value: Array, spec: PoolingSpec, params: PoolingParams, ids: Sequence[int]) -> Array:
    if spec.pooling[0] != "STEP":
        return value
    columns = params.returned_token_ids if params.returned_token_ids is not None else spec.returned_token_ids
    tag = params.step_tag_id if params.step_tag_id is not None else spec.step_tag_id
    if columns is not None:
        bad = [column for column in columns if not 0 <= column < value.shape[-1]]
        if bad:
            raise InputError(f"returned_token_ids {bad} are outside the {value.shape[-1]} columns of this model")
        value = value[:, list(columns)]
    return value[np.asarray(ids) == tag] if tag is not None else value
