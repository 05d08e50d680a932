"""Vectors as JSON numbers, base64 or bytes, in five number formats (vLLM ``utils/serial_utils.py``).

Numbers are rounded to the nearest, ties to even, as torch does; one that the format cannot hold is an error, where
torch answers an infinity or a NaN.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from ...errors import InputError
from ...tokens import Encoded
from ..exchange import Exchange, Reply, json_reply
from .common import envelope, usage_of

Array = np.ndarray

EncodingFormat = Literal["float", "base64", "bytes", "bytes_only"]
EmbedDtype = Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]
Endianness = Literal["native", "big", "little"]

# Python's own HTTP client, and so requests and urllib3, reads no header above 64 KiB.
_MOST_METADATA = 60_000


class _Format(NamedTuple):
    """A binary floating-point format without a numpy type: its largest number, and that number's code."""

    mantissa: int
    bias: int
    largest: float
    largest_code: int
    code: type[np.unsignedinteger[Any]]


_FORMATS: dict[str, _Format] = {
    "bfloat16": _Format(7, 127, 3.3895314e38, 0x7F7F, np.uint16),
    "fp8_e4m3": _Format(3, 7, 448.0, 0x7E, np.uint8),  # torch.float8_e4m3fn: no infinities, 448 at most
    "fp8_e5m2": _Format(2, 15, 57344.0, 0x7B, np.uint8),
}


class NumberFormat(msgspec.Struct, frozen=True):
    """How numbers are written, as a request asks for it."""

    encoding: EncodingFormat = "float"
    dtype: EmbedDtype = "float32"
    endianness: Endianness = "native"


def to_bytes(values: Array, dtype: EmbedDtype, endianness: Endianness = "native") -> bytes:
    """Write float32 numbers of any shape, row by row.

    Raises:
        InputError: a number that the format cannot hold.
    """
    if dtype == "float32":
        codes: Array = np.ascontiguousarray(values, dtype=np.float32)
    elif dtype == "float16":
        with np.errstate(over="ignore"):
            codes = values.astype(np.float16)
        _check_range(values, np.isfinite(codes), dtype, 65504.0)
    else:
        codes = _rounded(values, dtype)
    if endianness not in ("native", sys.byteorder):
        codes = codes.byteswap()
    return codes.tobytes()


def _rounded(values: Array, dtype: EmbedDtype) -> Array:
    kind = _FORMATS[dtype]
    magnitudes = np.abs(values.astype(np.float32))
    # Below the smallest normal number the steps stay as wide as there.
    exponents = np.where(magnitudes > 0, np.frexp(magnitudes)[1] - 1, 1 - kind.bias)
    exponents = np.maximum(exponents, 1 - kind.bias)
    steps = np.rint(np.ldexp(magnitudes, kind.mantissa - exponents)).astype(np.int64)
    # A mantissa that was rounded up to the next power of two carries into the exponent by itself.
    codes = ((exponents + kind.bias) << kind.mantissa) + steps - (1 << kind.mantissa)
    _check_range(values, codes <= kind.largest_code, dtype, kind.largest)
    signs = np.signbit(values).astype(np.int64) << (8 * np.dtype(kind.code).itemsize - 1)
    found: Array = (codes | signs).astype(kind.code)
    return found


def _check_range(values: Array, fits: Array, dtype: str, largest: float) -> None:
    if not fits.all():
        worst = float(np.abs(values).max())
        raise InputError(f"embed_dtype {dtype} holds numbers up to {largest:g}, this answer has {worst:g}; "
                         "ask for float32")  # fmt: skip


def vectors_reply(
    exchange: Exchange,
    prefix: str,
    rows: Sequence[tuple[Encoded, Array]],
    form: NumberFormat,
    *,
    kind: str = "embedding",
    key: str = "embedding",
) -> Reply:
    """Answer with one array an input.

    Args:
        exchange: the request.
        prefix: of the answer's id.
        rows: what was run, and float32 arrays of any shape.
        form: how numbers are written.
        kind: ``object`` of an element of ``data``.
        key: under which its numbers are.

    Raises:
        InputError: a number that the format cannot hold, or metadata too long for a header.
    """
    usage = usage_of(item for item, _ in rows)
    values = (value for _, value in rows)
    if form.encoding in ("bytes", "bytes_only"):
        return _bytes_reply(envelope(exchange, prefix, [], usage), values, form)
    written: Iterable[Any]
    if form.encoding == "base64":
        written = (b64encode(to_bytes(value, form.dtype, form.endianness)).decode("ascii") for value in values)
    else:
        written = map(np.ascontiguousarray, values)  # orjson writes arrays without gaps
    data = [{"index": index, "object": kind, key: item} for index, item in enumerate(written)]
    return json_reply(envelope(exchange, prefix, data, usage))


def _bytes_reply(answer: dict[str, Any], values: Iterable[Array], form: NumberFormat) -> Reply:
    """All numbers in one body; ``bytes`` says in the header ``metadata`` which are whose."""
    chunks: list[bytes] = []
    data: list[dict[str, Any]] = []
    end = 0
    for index, value in enumerate(values):
        chunks.append(to_bytes(value, form.dtype, form.endianness))
        start, end = end, end + len(chunks[-1])
        data.append({
            "index": index, "embed_dtype": form.dtype, "endianness": form.endianness,
            "start": start, "end": end, "shape": value.shape,
        })  # fmt: skip
    headers = {}
    if form.encoding == "bytes":
        usage = {name: answer["usage"][name] for name in ("prompt_tokens", "total_tokens")}
        metadata = {"id": answer["id"], "created": answer["created"], "model": answer["model"],
                    "data": data, "usage": usage}  # fmt: skip
        headers["metadata"] = json.dumps(metadata, separators=(",", ":"))
        if len(headers["metadata"]) > _MOST_METADATA:
            raise InputError(
                f"encoding_format='bytes' of {len(data)} inputs needs a header of {len(headers['metadata'])} bytes, "
                f"more than clients read ({_MOST_METADATA}); ask for 'bytes_only' or 'base64', or send fewer inputs"
            )
    return Reply(b"".join(chunks), "application/octet-stream", headers)
