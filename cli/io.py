"""Texts in (arguments, text or JSON-lines files, stdin), results out (JSON lines, ``.npy``), atomically."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.files import replacing

if TYPE_CHECKING:
    import numpy as np

_TEXT_KEYS = ("text", "prompt", "input")
_PAIR_KEYS = (("query", "document"), ("text_1", "text_2"))
OUTPUT_SUFFIXES = (".jsonl", ".npy")


def read_texts(texts: Sequence[str], source: str | None) -> list[str]:
    """Collect texts from arguments or ``--input``.

    A ``.jsonl`` file holds one string, or one object with ``text``, ``prompt`` or ``input``, a
    line; any other file, and ``-`` (stdin), holds one text a line, empty ones included.

    Raises:
        click.UsageError: both or neither source, or a line of another shape.
    """
    if bool(texts) == bool(source):
        raise click.UsageError("texts come as arguments or with --input, not both" if texts else "no text was given")
    if source is None:
        return [_argument(text) for text in texts]
    if source.endswith(".jsonl"):
        found = [_text_of(value, f"{source} line {number}") for number, value in _json_lines(source)]
    else:
        found = [line for _, line in _lines(source)]
    if not found:
        raise click.UsageError(f"{source} holds no text")
    return found


def read_pairs(source: str) -> tuple[list[str], list[str]]:
    """Read pairs from JSON lines (a ``.jsonl`` file or ``-``) with ``query``/``document`` or ``text_1``/``text_2``.

    Raises:
        click.UsageError: not a ``.jsonl`` file, or a line of another shape.
    """
    if source != "-" and not source.endswith(".jsonl"):
        raise click.UsageError(f"pairs are read from a .jsonl file with query and document, got {source}")
    left, right = [], []
    for number, value in _json_lines(source):
        keys = next((keys for keys in _PAIR_KEYS if isinstance(value, dict) and set(keys) <= set(value)), None)
        if keys is None or not all(isinstance(value[key], str) for key in keys):
            raise click.UsageError(f"{source} line {number}: expected an object with query and document strings")
        left.append(value[keys[0]])
        right.append(value[keys[1]])
    if not left:
        raise click.UsageError(f"{source} holds no pair")
    return left, right


def check_output(path: Path | None) -> None:
    """Refuse an output name before any work is done.

    Raises:
        click.UsageError: an unknown suffix, a folder, or a place in a folder that does not exist.
    """
    if path is None:
        return
    if path.is_dir():
        raise click.UsageError(f"--output {path} is a folder; expected a file name")
    if path.suffix not in OUTPUT_SUFFIXES:
        raise click.UsageError(f"--output must end in {' or '.join(OUTPUT_SUFFIXES)}, got {path}")
    if not path.absolute().parent.is_dir():
        raise click.UsageError(f"--output {path}: the folder {path.parent} does not exist")


def write_output(path: Path, records: Sequence[dict[str, Any]], arrays: Sequence[np.ndarray] | Sequence[float]) -> None:
    """Write results next to their final name, then rename: a failure leaves the old file as it was.

    Args:
        path: ``.jsonl`` (one record a line) or ``.npy`` (float32, one row a text).
        records: JSON-ready results.
        arrays: the same results as arrays.

    Raises:
        click.UsageError: ``.npy`` for rows of different lengths.
        click.ClickException: the file cannot be written.
    """
    import numpy as np

    if path.suffix == ".npy" and len({np.shape(array) for array in arrays}) > 1:
        raise click.UsageError("rows differ in length, .npy cannot hold them; use --output NAME.jsonl")
    try:
        with replacing(path) as stream:
            if path.suffix == ".npy":
                np.save(stream, np.stack(arrays).astype(np.float32))
            else:
                stream.writelines(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror or error}") from error


def print_records(records: Iterable[dict[str, Any]]) -> None:
    """Print one JSON document a line."""
    for record in records:
        click.echo(json.dumps(record, ensure_ascii=False))


def _lines(source: str) -> list[tuple[int, str]]:
    try:
        # Bytes from stdin too: the locale has no say in what a corpus is encoded in.
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{source} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise click.UsageError(f"{source} cannot be read: {error.strerror}") from error
    # Not splitlines(): it also breaks at U+2028 and form feeds, which may stand inside a text.
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []
    return list(enumerate(lines, 1))


def _json_lines(source: str) -> list[tuple[int, Any]]:
    values = []
    for number, line in _lines(source):
        if not line.strip():
            continue
        try:
            values.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            raise click.UsageError(f"{source} line {number} is not JSON: {error.msg}") from error
    return values


def _argument(text: str) -> str:
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise click.UsageError(f"argument {text!r} is not UTF-8 text")
    return text


def _text_of(value: Any, where: str) -> str:
    if isinstance(value, dict):
        value = next((value[key] for key in _TEXT_KEYS if key in value), None)
    if not isinstance(value, str):
        raise click.UsageError(f"{where}: expected a string or an object with {' or '.join(_TEXT_KEYS)}")
    return value
