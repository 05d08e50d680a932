"""The format of the request corpus: one JSON file a family, `{"about": …, "cases": [case, …]}`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

FOLDER = Path(__file__).parent / "corpus"
TOLERANCE = 2e-5  # of numbers that were computed in another batch


class Same(msgspec.Struct, forbid_unknown_fields=True):
    """Another request whose answer holds the same numbers at `at` as the case's at `own`, or others (`not_same`)."""

    json: Any
    own: str
    at: str | None = None  # the same place
    path: str | None = None  # the same route


class Case(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One request and what is asked of its answer.

    `json` is the body; `raw` (text, or pieces that are repeated) or `hex` is it where JSON cannot say it. In `json`,
    `{"$repeat": [value, n]}` is a text or a list that many times. Places in an answer are `data.0.embedding`;
    `data.*.index` is a list, and `data.0.embedding|<f4` decodes base64 as that numpy dtype.
    """

    id: str
    path: str
    method: Literal["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"] = "POST"
    headers: dict[str, str] = {}
    json: Any = msgspec.UNSET
    raw: str | list[tuple[str, int]] | msgspec.UnsetType = msgspec.UNSET
    hex: str | msgspec.UnsetType = msgspec.UNSET
    status: int = 200
    # of an error: what its message must say (field, value, limit), and its `param`
    says: list[str] = []
    param: str | msgspec.UnsetType | None = msgspec.UNSET
    # of an answer
    keys: list[str] | None = None
    equals: dict[str, Any] = {}
    near: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    unit: list[str] = []
    same: Same | None = None
    not_same: Same | None = None
    answer_headers: dict[str, str] = {}

    def content(self) -> bytes | None:
        """The bytes to send."""
        if self.json is not msgspec.UNSET:
            return json.dumps(expanded(self.json)).encode()
        if isinstance(self.hex, str):
            return bytes.fromhex(self.hex)
        if isinstance(self.raw, str):
            return self.raw.encode()
        return "".join(text * times for text, times in self.raw).encode() if isinstance(self.raw, list) else None


def expanded(value: Any) -> Any:
    """Fill in `{"$repeat": [value, n]}`."""
    if isinstance(value, dict):
        if set(value) == {"$repeat"}:
            item, times = value["$repeat"]
            return item * times
        return {key: expanded(item) for key, item in value.items()}
    return [expanded(item) for item in value] if isinstance(value, list) else value


def load() -> dict[str, Case]:
    """Every case, by `family/id`."""
    found: dict[str, Case] = {}
    for file in sorted(FOLDER.glob("*.json")):
        data = json.loads(file.read_text("utf-8"))
        for case in msgspec.convert(data["cases"], list[Case]):
            name = f"{file.stem}/{case.id}"
            assert name not in found, f"two cases are named {name}"
            found[name] = case
    return found


def at(value: Any, place: str) -> Any:
    """What an answer holds at a place."""
    place, _, dtype = place.partition("|")
    for index, step in enumerate(place.split(".")):
        if step == "*":
            rest = ".".join(place.split(".")[index + 1 :])
            return [at(item, rest) if rest else item for item in value]
        value = value[int(step)] if isinstance(value, list) else value[step]
    return np.frombuffer(base64.b64decode(value), dtype).astype(np.float64).tolist() if dtype else value
