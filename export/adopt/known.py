"""Refuse heads with a setting that this kind of graph cannot hold: it must not be dropped in silence."""

from __future__ import annotations

import dataclasses
from typing import Any

from ...poolers.parts import HeadStep
from ...poolers.spec import PoolingSpec
from ..errors import ExportError

_SPEC_FIELDS = frozenset(
    {
        "activation",
        "convert",
        "dimensions",
        "embedding_size",
        "hidden_size",
        "is_matryoshka",
        "labels",
        "logit_mean",
        "logit_sigma",
        "matryoshka_dimensions",
        "num_labels",
        "pair_format",
        "pooling",
        "returned_token_ids",
        "sources",
        "step_tag_id",
        "steps",
        "use_activation",
    }
)
_STEP_FIELDS = frozenset({"activation", "bias", "in_features", "kind", "out_features", "path"})


def require_known(spec: PoolingSpec) -> None:
    """Check that the head says nothing but what the surgery reads.

    Raises:
        ExportError: the message names the field.
    """
    if spec.convert not in ("embed", "classify", "reward"):
        raise ExportError(f"convert={spec.convert} cannot be adopted; export the checkpoint itself: pool-export MODEL")
    records: list[tuple[PoolingSpec | HeadStep, frozenset[str]]] = [(spec, _SPEC_FIELDS)]
    for record, known in records + [(step, _STEP_FIELDS) for step in spec.steps]:
        for name, value in _unusual(record).items():
            if name not in known:
                raise ExportError(
                    f"a head with {name}={value!r} cannot be adopted; export the checkpoint itself: pool-export MODEL"
                )


def _unusual(record: PoolingSpec | HeadStep) -> dict[str, Any]:
    """Fields that do not have their default value."""
    found = {}
    for field in dataclasses.fields(record):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        if (value := getattr(record, field.name)) != default:
            found[field.name] = value
    return found
