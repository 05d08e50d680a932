"""What stays on the host because it is per request: activation switch, Matryoshka slice, STEP selection.

Pure numpy on one text's outputs. vLLM's order: columns, rows, calibration, slice, activation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..poolers.spec import Activation, PoolingSpec, Task
from .errors import InputError
from .params import PoolingParams

Array = np.ndarray

_NORM_EPS = 1e-12


def normalize(vectors: Array) -> Array:
    """Scale the last dimension to unit L2 norm (``x / max(norm, 1e-12)``, as the graph does)."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Array = (vectors / np.maximum(norms, _NORM_EPS)).astype(np.float32)
    return result


def sigmoid(logits: Array) -> Array:
    """Element-wise sigmoid, without overflow."""
    result: Array = np.exp(-np.logaddexp(0.0, -logits.astype(np.float64))).astype(np.float32)
    return result


def softmax(logits: Array) -> Array:
    """Softmax over the last dimension."""
    shifted = logits.astype(np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True, initial=-np.inf))
    probabilities: Array = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities


def softmax_or_sigmoid(logits: Array) -> Array:
    """vLLM's "classify" rule over the last dimension: sigmoid for one logit, softmax for more."""
    return sigmoid(logits) if logits.shape[-1] < 2 else softmax(logits)


_ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "identity": lambda values: values,
    "normalize": normalize,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "tanh": np.tanh,
}


def required_output(task: Task, spec: PoolingSpec, available: Sequence[str], params: PoolingParams) -> str:
    """Name the one graph output a request needs.

    Raises:
        InputError: the graph does not hold what is asked (an un-normalised token vector after
            Dense layers, say).
    """
    active = is_active(task, spec, params)
    if task == "embed":
        name = "unnormalized_embedding" if spec.use_activation and not active else "sentence_embedding"
    elif spec.convert == "embed":
        name = _token_output(task, spec, active)
    elif spec.convert == "reward":
        name = "rewards"
    else:
        # STEP chooses rows and columns before the activation.
        name = "probs" if active and spec.pooling[0] != "STEP" else "logits"
    if name not in available:
        raise InputError(f"the graph has no output {name!r} (it has {', '.join(available)}); export the model again")
    return name


def _token_output(task: Task, spec: PoolingSpec, active: bool) -> str:
    if spec.is_token_level:
        if active == spec.use_activation:
            return "token_embeddings"
        if spec.steps:
            held = "normalised" if spec.use_activation else "un-normalised"
            raise InputError(f"this bundle holds {held} token vectors only; use pooling_task='token_embed' as it is")
        return "last_hidden_state"
    if spec.steps and len(spec.pooling) == 1:
        return "token_embeddings"
    if spec.steps and task == "token_embed":
        raise InputError(
            "this model has no token vectors: its dense layers take the concatenation of "
            f"{' and '.join(spec.pooling)}; `encode` returns the hidden states"
        )
    return "last_hidden_state"


def is_active(task: Task, spec: PoolingSpec, params: PoolingParams) -> bool:
    """Whether the head's last function applies: request, else the model's default, else the task's.

    ``encode`` returns states as they are unless asked, and a reward head resolves to no activation
    unless the user sets one (the seed page's table; vLLM 0.11's code applied a softmax there,
    which its documentation denies).
    """
    if spec.convert == "embed" and params.softmax is not None:
        return False  # `encode`: a softmax over states as they are, see `finish`
    switch = params.switch()
    if switch is not None:
        return switch
    return spec.use_activation and task != "encode"


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

    Raises:
        InputError: ``returned_token_ids`` outside the columns there are.
    """
    active = is_active(task, spec, params)
    if name == "probs":
        return value
    if spec.pooling[0] == "STEP":
        value = _select_steps(value, spec, params, ids)
    if spec.convert == "embed":
        value = _finish_embedding(task, name, spec, params, value, active)
        return softmax_or_sigmoid(value) if params.softmax else value
    if spec.convert == "reward":
        return softmax_or_sigmoid(value) if active else value
    value = _calibrate(value, spec)
    return _ACTIVATIONS[spec.activation](value) if active else value


def _finish_embedding(
    task: Task, name: str, spec: PoolingSpec, params: PoolingParams, value: Array, active: bool
) -> Array:
    # Beside a pooled vector, `token_embeddings` are the projected, un-normalised states.
    in_graph = name == "sentence_embedding" or (name == "token_embeddings" and spec.is_token_level)
    done = spec.use_activation and in_graph and spec.pooling[0] != "STEP"
    dimensions = params.dimensions if params.dimensions is not None else spec.dimensions
    if dimensions is not None and dimensions < value.shape[-1] and task != "encode":
        value, done = value[..., :dimensions], False
    return normalize(value) if active and not done else value


def _calibrate(value: Array, spec: PoolingSpec) -> Array:
    if spec.logit_mean is not None:
        value = value - np.float32(spec.logit_mean)
    if spec.logit_sigma is not None:
        value = value / np.float32(spec.logit_sigma)
    return value


def _select_steps(value: Array, spec: PoolingSpec, params: PoolingParams, ids: Sequence[int]) -> Array:
    columns = params.returned_token_ids if params.returned_token_ids is not None else spec.returned_token_ids
    tag = params.step_tag_id if params.step_tag_id is not None else spec.step_tag_id
    if columns is not None:
        bad = [column for column in columns if not 0 <= column < value.shape[-1]]
        if bad:
            raise InputError(f"returned_token_ids {bad} are outside the {value.shape[-1]} columns of this model")
        value = value[:, list(columns)]
    return value[np.asarray(ids) == tag] if tag is not None else value
