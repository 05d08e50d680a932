from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pool_export.poolers.files import CheckpointFiles


@pytest.fixture
def checkpoint() -> Callable[..., CheckpointFiles]:
    """Return `checkpoint(architecture, **config)`: the files of a plain checkpoint, 32 wide."""

    def files(architecture: str | None = "BertModel", **config: Any) -> CheckpointFiles:
        named = {} if architecture is None else {"architectures": [architecture]}
        return CheckpointFiles(config={**named, "hidden_size": 32, **config})

    return files


@pytest.fixture
def sentence_transformer() -> Callable[..., CheckpointFiles]:
    """Return `sentence_transformer([("Pooling", {...}), ...], architecture, **config)`: the same with modules.

    The transformer is added in front; a kind with a dot in it is a full class path.
    """

    def files(
        modules: list[tuple[str, dict[str, Any]]], architecture: str = "BertModel", **config: Any
    ) -> CheckpointFiles:
        rows = [("", "Transformer", {})]
        rows += [
            (f"{index}_{kind.rsplit('.', 1)[-1]}", kind, own) for index, (kind, own) in enumerate(modules, start=1)
        ]
        return CheckpointFiles(
            config={"architectures": [architecture], "hidden_size": 32, **config},
            modules=[
                {"path": path, "type": kind if "." in kind else f"sentence_transformers.models.{kind}"}
                for path, kind, _ in rows
            ],
            module_configs={path: own for path, _, own in rows},
        )

    return files
