"""Per-request parameters: vLLM's ``PoolingParams``, and the rules that check them.

Both generations of names are read: ``normalize`` (embed), ``activation`` (classify, score) and
``softmax`` (encode) of vLLM 0.11 are one switch, ``use_activation``, in 0.32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from ..poolers.spec import PoolingSpec, Task
from .errors import InputError

_SWITCHES = ("use_activation", "normalize", "activation", "softmax")

# vLLM `pooling_params.py`: the fields each task takes. Truncation belongs to every task.
_VALID: dict[Task, frozenset[str]] = {
    "embed": frozenset({"dimensions", "use_activation", "normalize"}),
    "token_embed": frozenset({"dimensions", "use_activation", "normalize"}),
    "classify": frozenset({"use_activation", "activation"}),
    "score": frozenset({"use_activation", "activation"}),
    "token_classify": frozenset({"use_activation", "softmax"}),
    "reward": frozenset({"use_activation", "softmax"}),
    "encode": frozenset({"use_activation", "softmax"}),
    "sparse_embed": frozenset(),
}
_STEP_FIELDS = frozenset({"step_tag_id", "returned_token_ids"})

_Check = tuple[str, Callable[[object], bool]]
_BOOLEAN: _Check = ("true or false", lambda value: isinstance(value, bool))
_INTEGER: _Check = ("an integer", lambda value: isinstance(value, int) and not isinstance(value, bool))
_INTEGERS: _Check = (
    "a list of integers",
    lambda value: isinstance(value, list | tuple) and all(_INTEGER[1](item) for item in value),
)
_TYPES: dict[str, _Check] = {
    **dict.fromkeys(_SWITCHES, _BOOLEAN),
    **dict.fromkeys(("dimensions", "step_tag_id", "truncate_prompt_tokens"), _INTEGER),
    "returned_token_ids": _INTEGERS,
}


@dataclass(frozen=True, kw_only=True)
class PoolingParams:
    """What one request asks of the pooler; ``None`` keeps the model's default.

    Attributes:
        dimensions: Matryoshka size of the returned vector.
        use_activation: apply the head's last function (normalise, sigmoid, softmax).
        normalize, activation, softmax: the same switch under vLLM 0.11's names.
        step_tag_id: STEP heads: keep rows of this token id.
        returned_token_ids: STEP heads: keep these columns.
        truncate_prompt_tokens: keep at most this many tokens (specials included);
            -1 means the model's own limit. ``None`` makes over-long input an error.
    """

    dimensions: int | None = None
    use_activation: bool | None = None
    normalize: bool | None = None
    activation: bool | None = None
    softmax: bool | None = None
    step_tag_id: int | None = None
    returned_token_ids: tuple[int, ...] | list[int] | None = None
    truncate_prompt_tokens: int | None = None

    def switch(self) -> bool | None:
        """Return the activation switch, under whichever name it was given."""
        values = [getattr(self, name) for name in _SWITCHES]
        return next((value for value in values if value is not None), None)


def check_params(params: PoolingParams, task: Task, spec: PoolingSpec, name: str) -> None:
    """Check one request's parameters against the task and the model.

    Args:
        params: the request's parameters.
        task: the task it is for.
        spec: the model's head.
        name: model name, shown in the Matryoshka messages.

    Raises:
        InputError: a field of the wrong type or that the task does not take, two contradicting
            switches, or ``dimensions`` the model was not trained for. Texts: vLLM
            ``pooling_params.py`` and the seed page.
    """
    given = {f.name: value for f in fields(params) if (value := getattr(params, f.name)) is not None}
    for field, value in given.items():
        expected, accepts = _TYPES[field]
        if not accepts(value):
            raise InputError(f"{field} must be {expected}, got {value!r}")
    valid = _VALID[task] | (_STEP_FIELDS if spec.pooling[0] == "STEP" else frozenset())
    wrong = sorted(given.keys() - valid - {"truncate_prompt_tokens"})
    if wrong:
        raise InputError(f"Task {task!r} only supports {sorted(valid)} parameters, does not support {wrong} parameters")
    switches = {name: given[name] for name in _SWITCHES if name in given}
    if len(set(switches.values())) > 1:
        raise InputError(f"contradicting parameters {switches}; give `use_activation` alone")
    if params.dimensions is not None:
        check_dimensions(params.dimensions, spec, name)


def check_dimensions(dimensions: int, spec: PoolingSpec, name: str) -> None:
    """Apply the Matryoshka rules (vLLM ``pooling_params.py``; sentences of the seed page).

    Raises:
        InputError: the model is not Matryoshka, or was not trained for that size.
    """
    if not spec.is_matryoshka:
        raise InputError(
            f'Model "{name}" does not support matryoshka representation, '
            "changing output dimensions will lead to poor results."
        )
    if dimensions < 1:
        raise InputError(f"Dimensions must be greater than 0, got {dimensions}")
    allowed = spec.matryoshka_dimensions
    if allowed and dimensions not in allowed:
        raise InputError(
            f'Model "{name}" only supports {list(allowed)} matryoshka dimensions, '
            f"use other output dimensions will lead to poor results. Got dimensions={dimensions}."
        )
    if spec.embedding_size is not None and dimensions > spec.embedding_size:
        raise InputError(
            f"Model {name!r} only supports dimensions in range [1, {spec.embedding_size}], got {dimensions}."
        )
