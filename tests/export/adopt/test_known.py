"""A head with a setting that the surgery does not read is refused, not shortened."""

from __future__ import annotations

import dataclasses

import pytest

from pool_export.export.adopt.head import METHODS
from pool_export.export.adopt.known import require_known
from pool_export.export.errors import ExportError
from pool_export.poolers.parts import HeadStep
from pool_export.poolers.spec import POOLING_TYPES, TOKEN_POOLING_TYPES, PoolingSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterSpec(PoolingSpec):
    """What a later version may add."""

    sparse: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterStep(HeadStep):
    """What a later version may add."""

    residual: bool = False


def test_today_everything_is_known() -> None:
    steps = (HeadStep(kind="dense", path="2_Dense", in_features=4, out_features=2, bias=False, activation="tanh"),)
    require_known(PoolingSpec(convert="embed", pooling=("MEAN",), hidden_size=4, steps=steps, embedding_size=2))
    # SPLADE has no hidden states to pool.
    assert set(METHODS) == set(POOLING_TYPES) - set(TOKEN_POOLING_TYPES) - {"SPLADE"}


def test_what_a_later_version_adds_is_refused_until_the_surgery_reads_it() -> None:
    require_known(LaterSpec(convert="embed", pooling=("CLS",), hidden_size=4))
    with pytest.raises(ExportError, match="a head with sparse=True cannot be adopted"):
        require_known(LaterSpec(convert="embed", pooling=("CLS",), hidden_size=4, sparse=True))
    step = LaterStep(kind="dense", residual=True)
    with pytest.raises(ExportError, match="a head with residual=True cannot be adopted"):
        require_known(PoolingSpec(convert="embed", pooling=("CLS",), hidden_size=4, steps=(step,)))
