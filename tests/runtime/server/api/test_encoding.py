"""Number formats against torch, bit by bit; and the shapes in which vectors are answered."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import numpy as np
import pytest
import torch

from pool_export.runtime.errors import InputError
from pool_export.runtime.scheduling.call import Call
from pool_export.runtime.server.api.encoding import EmbedDtype, NumberFormat, to_bytes, vectors_reply
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.exchange import Exchange
from pool_export.runtime.tokens import Encoded

# Largest number, and the number from which torch answers an infinity or a NaN.
TORCH: dict[EmbedDtype, tuple[Any, Any, float]] = {
    "float32": (torch.float32, torch.int32, 3.4e38),
    "float16": (torch.float16, torch.int16, 65504.0),
    "bfloat16": (torch.bfloat16, torch.int16, 3.389e38),
    "fp8_e4m3": (torch.float8_e4m3fn, torch.uint8, 448.0),
    "fp8_e5m2": (torch.float8_e5m2, torch.uint8, 57344.0),
}
OTHER = "big" if sys.byteorder == "little" else "little"


def golden(values: np.ndarray, dtype: EmbedDtype) -> bytes:
    kind, code, _ = TORCH[dtype]
    return torch.from_numpy(values).to(kind).view(code).numpy().tobytes()


def exact_numbers(dtype: EmbedDtype) -> np.ndarray:
    """Return numbers that the format holds exactly."""
    kind, code, _ = TORCH[dtype]
    bits = 8 * code.itemsize
    codes = torch.arange(2**bits, dtype=torch.int64) if bits <= 16 else torch.empty(0, dtype=torch.int64)
    values = codes.to(code).view(kind).to(torch.float32).numpy()
    return np.sort(values[np.isfinite(values)])


@pytest.mark.parametrize("dtype", [name for name in TORCH if name != "float32"])
def test_every_number_of_a_format_and_the_ties_between_two_are_torchs(dtype: EmbedDtype):
    exact = exact_numbers(dtype).astype(np.float64)
    ties = ((exact[:-1] + exact[1:]) / 2).astype(np.float32)
    near = np.concatenate([ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))])
    values = np.concatenate([exact.astype(np.float32), near])
    assert len(values) > 900
    assert to_bytes(values, dtype) == golden(values, dtype)


@pytest.mark.parametrize("dtype", TORCH)
def test_any_numbers_are_torchs(dtype: EmbedDtype):
    bits = np.random.default_rng(3).integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    values = bits[np.isfinite(bits) & (np.abs(bits) <= TORCH[dtype][2])].reshape(-1, 1)
    values = np.concatenate([values, np.random.default_rng(4).normal(size=(50_000, 1)).astype(np.float32)])
    assert to_bytes(values, dtype) == golden(values, dtype)


@pytest.mark.parametrize("dtype", [name for name in TORCH if name != "float32"])
def test_a_number_that_the_format_cannot_hold_is_an_error(dtype: EmbedDtype):
    largest = exact_numbers(dtype)[-1]
    step = largest - exact_numbers(dtype)[-2]
    assert to_bytes(np.array([largest + step / 4], np.float32), dtype) == to_bytes(np.array([largest]), dtype)
    with pytest.raises(InputError, match=f"embed_dtype {dtype} holds numbers up to .*, this answer has .*float32"):
        to_bytes(np.array([1.0, -largest - step * 0.75], np.float32), dtype)


def test_the_bytes_of_each_number_are_in_the_order_asked_for():
    values = np.array([[1.5, -2.0]], np.float32)
    assert to_bytes(values, "float32", "big") == values.astype(">f4").tobytes()
    assert to_bytes(values, "float32", "little") == values.astype("<f4").tobytes()
    assert to_bytes(values, "float32", "native") == values.tobytes()
    assert to_bytes(values, "fp8_e5m2", OTHER) == to_bytes(values, "fp8_e5m2")
    assert to_bytes(values, "bfloat16", "big") == bytes.fromhex("3fc0c000")


def exchange() -> Exchange:
    return Exchange(models=None, config=ServerConfig(), request_id="r", call=Call())  # type: ignore[arg-type]


ROWS = [
    (Encoded([1, 2, 3], [0, 0, 0]), np.arange(6, dtype=np.float32).reshape(3, 2)),
    (Encoded([4], [0]), np.array([[9, 8]], np.float32)),
]


def test_a_slice_of_a_matrix_is_answered_as_lists_of_lists():
    rows = [(ROWS[0][0], np.arange(6, dtype=np.float32).reshape(2, 3)[:, :2])]
    answer = json.loads(vectors_reply(exchange(), "pooling", rows, NumberFormat(), kind="pooling", key="data").body)
    assert answer["data"] == [{"index": 0, "object": "pooling", "data": [[0.0, 1.0], [3.0, 4.0]]}]


def test_base64_is_the_buffer_row_by_row():
    answer = json.loads(vectors_reply(exchange(), "embd", ROWS, NumberFormat("base64", "float16", "big")).body)
    found = [np.frombuffer(base64.b64decode(item["embedding"]), ">f2").tolist() for item in answer["data"]]
    assert found == [[0, 1, 2, 3, 4, 5], [9, 8]]
    assert (answer["id"], answer["object"]) == ("embd-r", "list")


def test_bytes_say_in_a_header_what_lies_where():
    reply = vectors_reply(exchange(), "pooling", ROWS, NumberFormat("bytes", "bfloat16", "little"))
    metadata = json.loads(reply.headers["metadata"])
    assert reply.media_type == "application/octet-stream"
    assert metadata.pop("created") > 0
    common = {"embed_dtype": "bfloat16", "endianness": "little"}
    assert metadata == {
        "id": "pooling-r",
        "model": None,
        "data": [
            {"index": 0, **common, "start": 0, "end": 12, "shape": [3, 2]},
            {"index": 1, **common, "start": 12, "end": 16, "shape": [1, 2]},
        ],
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    assert reply.body == b"".join(golden(value, "bfloat16") for _, value in ROWS)
    only = vectors_reply(exchange(), "pooling", ROWS, NumberFormat("bytes_only", "bfloat16", "little"))
    assert (only.body, dict(only.headers)) == (reply.body, {})


def test_a_header_that_no_client_reads_is_refused():
    many = [ROWS[1]] * 1000
    with pytest.raises(InputError, match=r"encoding_format='bytes' of 1000 inputs needs a header of .* 'bytes_only'"):
        vectors_reply(exchange(), "embd", many, NumberFormat("bytes"))
    assert len(vectors_reply(exchange(), "embd", many, NumberFormat("bytes_only")).body) == 8000
