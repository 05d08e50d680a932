"""What may still be chosen when a finished bundle is opened: the part of the head that the host computes.

``LLM(bundle, hf_overrides=..., pooler_config=...)``. The graph is what it is; what the host does
after it (Matryoshka slice, last function, calibration, STEP selection) can follow the user. The
rest is refused by name: it needs another export.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..poolers.pooler_config import PoolerConfig
from ..poolers.spec import PoolingSpec, Source
from ..poolers.validate import validate
from .errors import BundleError

HOST_KEYS = ("is_matryoshka", "matryoshka_dimensions")

_REMEDY = "can only be chosen at export: run pool-export on the original model with these options"


def overridden(
    spec: PoolingSpec, pooler_config: PoolerConfig | Mapping[str, Any] | None, hf_overrides: Mapping[str, Any] | None
) -> PoolingSpec:
    """Return the head as the user wants it, or the same one where nothing was asked.

    Args:
        spec: the head as it was exported.
        pooler_config: keys of vLLM's pooler config.
        hf_overrides: keys of ``config.json``; ``HOST_KEYS`` are those a host can honour.

    Raises:
        BundleError: a key that only an export can honour.
        ConfigError: an unknown key, a wrong type, or a setting this head does not have.
    """
    user = PoolerConfig.parse(pooler_config)
    changes = _matryoshka(spec, hf_overrides or {}) | _pooler(spec, user)
    if not changes:
        return spec
    sources: dict[str, Source] = {**spec.sources, **dict.fromkeys(changes, "user")}
    new = dataclasses.replace(spec, **changes, sources=sources, traced=spec.in_graph)
    validate(new)
    return new


def _matryoshka(spec: PoolingSpec, overrides: Mapping[str, Any]) -> dict[str, Any]:
    _refuse([f"hf_overrides {key!r}" for key in overrides if key not in HOST_KEYS or spec.convert != "embed"])
    changes: dict[str, Any] = {}
    if "matryoshka_dimensions" in overrides:
        sizes = overrides["matryoshka_dimensions"] or ()
        width = spec.embedding_size or 0
        if not isinstance(sizes, list | tuple) or not all(type(size) is int and 1 <= size <= width for size in sizes):
            raise BundleError(f"matryoshka_dimensions must be a list of sizes in [1, {width}], got {sizes!r}")
        changes |= {"matryoshka_dimensions": tuple(sizes), "is_matryoshka": bool(sizes)}
    if "is_matryoshka" in overrides:
        stated = overrides["is_matryoshka"]
        if not isinstance(stated, bool):
            raise BundleError(f"is_matryoshka must be true or false, got {stated!r}")
        # A model with a list of sizes is Matryoshka whatever the switch says (vLLM's rule).
        sizes = changes.get("matryoshka_dimensions", spec.matryoshka_dimensions)
        changes["is_matryoshka"] = stated or bool(sizes)
    return changes


def _pooler(spec: PoolingSpec, user: PoolerConfig) -> dict[str, Any]:
    kind = user.resolved_pooling_type()
    if kind is not None and spec.pooling != (kind,):
        _refuse([f"pooling type {kind} (this bundle pools {' + '.join(spec.pooling)})"])
    mean = user.logit_mean if user.logit_mean is not None else user.logit_bias
    asked: dict[str, Any] = {
        "use_activation": user.resolved_activation(),
        "dimensions": user.dimensions,
        "step_tag_id": user.step_tag_id,
        "returned_token_ids": user.returned_token_ids,
        "logit_mean": mean,
        "logit_sigma": user.logit_sigma,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _refuse(what: list[str]) -> None:
    if what:
        raise BundleError(f"this is an exported bundle; {', '.join(what)} {_REMEDY}")
