"""The oracle itself: the original file, one text at a time, by definition."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pool_export.export.adopt import oracle as module
from pool_export.export.adopt.oracle import OriginalOracle
from pool_export.export.errors import ParityError, SourceError
from pool_export.export.request import ExportRequest
from pool_export.export.source import read_source
from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.poolers.resolve import resolve

from .conftest import edit_json


def oracle_of(folder: Path, answer: str = "last_hidden_state", **pooler: Any) -> OriginalOracle:
    source = read_source(ExportRequest(model=str(folder)), folder, "")
    spec = resolve(source.files, pooler_config=PoolerConfig.parse(pooler))
    return OriginalOracle(folder / "onnx/model.onnx", answer, source, spec)


def test_it_shares_nothing_with_the_surgery_but_the_reading_of_weights() -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"head", "surgery", "builder", "original"}
    assert "weights" in imported


def test_numbers_by_hand(toy: Callable[..., Path]) -> None:
    folder = toy()
    table = onnx.numpy_helper.to_array(onnx.load(folder / "onnx/model.onnx").graph.initializer[0]).astype(np.float64)
    found = oracle_of(folder, pooling_type="WEIGHTED_MEAN").outputs([7, 5, 9], [0, 0, 0])
    raw = (table[7] + 2 * table[5] + 3 * table[9]) / 6
    np.testing.assert_allclose(found["unnormalized_embedding"], raw, rtol=1e-12)
    np.testing.assert_allclose(found["sentence_embedding"], raw / np.linalg.norm(raw), rtol=1e-12)
    np.testing.assert_array_equal(found["last_hidden_state"], table[[7, 5, 9]])


def test_positions_that_are_an_input_are_fed(toy: Callable[..., Path]) -> None:
    rows = "int64[batch, length] input_ids, int64[batch, length] attention_mask, int64[batch, length] position_ids"
    folder = toy(inputs=rows, body="last_hidden_state = Gather (table, position_ids)")
    table = onnx.numpy_helper.to_array(onnx.load(folder / "onnx/model.onnx").graph.initializer[0])
    np.testing.assert_array_equal(oracle_of(folder).outputs([7, 5], [0, 0])["last_hidden_state"], table[[0, 1]])
    edit_json(folder / "config.json", model_type="roberta", pad_token_id=1)
    found = oracle_of(folder).outputs([7, 1, 5], [0, 0, 0])["last_hidden_state"]
    np.testing.assert_array_equal(found, table[[2, 1, 3]])  # from behind the pad id, which is not counted


def test_a_file_that_onnxruntime_refuses(toy: Callable[..., Path]) -> None:
    folder = toy(body="last_hidden_state = com.example.Unknown (table, input_ids)")
    with pytest.raises(SourceError, match="cannot be loaded by onnxruntime"):
        oracle_of(folder)


def test_a_text_that_the_original_fails_on(toy: Callable[..., Path]) -> None:
    folder = toy(rows=8)
    with pytest.raises(ParityError, match=r"fails on a text of 2 tokens.*--max-model-len"):
        oracle_of(folder).outputs([1, 9], [0, 0])
