"""Texts in, results out: what a line of each kind of file means, and that a failed write changes nothing."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from pool_export.cli.io import check_output, read_pairs, read_texts, write_output


def file(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def from_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\ntwo", ["one", "two"]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("one\n\ntwo\n", ["one", "", "two"]),
        ("one\u2028still one\x0cstill one\n", ["one\u2028still one\x0cstill one"]),
        ("\ufeffone\n", ["one"]),
        ("  日本語 ✓ \n", ["  日本語 ✓ "]),
    ],
    ids=["lines", "no last newline", "windows", "an empty line is a text", "U+2028 is no newline", "BOM", "as it is"],
)
def test_a_text_file_and_stdin_hold_a_text_a_line(
    content: str, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_texts((), file(tmp_path, "in.txt", content)) == texts
    from_stdin(monkeypatch, content.encode())
    assert read_texts((), "-") == texts


def test_json_lines_hold_strings_or_objects_and_skip_empty_lines(tmp_path: Path) -> None:
    content = '"a"\n{"text": "b", "id": 7}\n\n{"prompt": "c"}\n{"input": "d\\ne"}\n"\u2028"\n'
    assert read_texts((), file(tmp_path, "in.jsonl", content)) == ["a", "b", "c", "d\ne", "\u2028"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{nonsense", "line 3 is not JSON: "),
        ("7", "line 3: expected a string or an object with text or prompt or input"),
        ('{"txt": "a"}', "line 3: expected a string or an object with text or prompt or input"),
        ('{"text": ["a"]}', "line 3: expected a string or an object with text or prompt or input"),
        ("null", "line 3: expected a string or an object with text or prompt or input"),
    ],
)
def test_a_bad_json_line_is_named_by_file_and_number(line: str, complaint: str, tmp_path: Path) -> None:
    source = file(tmp_path, "in.jsonl", f'"a"\n\n{line}\n"b"\n')
    with pytest.raises(click.UsageError) as raised:
        read_texts((), source)
    assert raised.value.message.startswith(f"{source} {complaint}")


@pytest.mark.parametrize("name", ["in.txt", "in.jsonl"])
def test_an_empty_file_holds_no_text(name: str, tmp_path: Path) -> None:
    source = file(tmp_path, name, "")
    with pytest.raises(click.UsageError, match="holds no text"):
        read_texts((), source)


def test_bytes_that_are_not_utf_8_are_refused_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"caf\xe9 noir\n"
    source = file(tmp_path, "latin.txt", content)
    with pytest.raises(click.UsageError, match=r"latin\.txt is not UTF-8 text \(.* at byte 3\)"):
        read_texts((), source)
    from_stdin(monkeypatch, content)
    with pytest.raises(click.UsageError, match=r"^- is not UTF-8 text \(.* at byte 3\)"):
        read_texts((), "-")
    with pytest.raises(click.UsageError, match="is not UTF-8 text"):
        read_texts((os.fsdecode(content),), None)


@pytest.mark.parametrize(
    ("texts", "source", "complaint"),
    [
        (("a",), "in.txt", "texts come as arguments or with --input, not both"),
        ((), None, "no text was given"),
        ((), "missing.txt", "missing.txt cannot be read: No such file or directory"),
        ((), ".", ". cannot be read: Is a directory"),
    ],
)
def test_texts_have_exactly_one_readable_source(
    texts: tuple[str, ...], source: str | None, complaint: str, in_tmp_path: Path
) -> None:
    with pytest.raises(click.UsageError) as raised:
        read_texts(texts, source)
    assert raised.value.message == complaint


PAIRS = '{"query": "q", "document": "d"}\n{"text_1": "a", "text_2": "b", "label": 1}\n'


def test_pairs_have_either_pair_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (["q", "a"], ["d", "b"])
    assert read_pairs(file(tmp_path, "pairs.jsonl", PAIRS)) == expected
    from_stdin(monkeypatch, PAIRS.encode())
    assert read_pairs("-") == expected


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("pairs.txt", PAIRS, "pairs are read from a .jsonl file with query and document, got {}"),
        ("pairs.jsonl", '{"query": "q"}', "{} line 1: expected an object with query and document strings"),
        ("pairs.jsonl", '{"query": "q", "document": 1}', "{} line 1: expected an object with query and document"),
        ("pairs.jsonl", '["q", "d"]', "{} line 1: expected an object with query and document strings"),
        ("pairs.jsonl", "\n", "{} holds no pair"),
    ],
)
def test_what_is_no_pair_is_refused(name: str, content: str, complaint: str, tmp_path: Path) -> None:
    source = file(tmp_path, name, content)
    with pytest.raises(click.UsageError) as raised:
        read_pairs(source)
    assert raised.value.message.startswith(complaint.format(source))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("out.csv", "--output must end in .jsonl or .npy, got out.csv"),
        ("out", "--output must end in .jsonl or .npy, got out"),
        ("missing/out.npy", "--output missing/out.npy: the folder missing does not exist"),
        ("taken.npy", "--output taken.npy is a folder; expected a file name"),
    ],
)
def test_an_impossible_output_name_is_refused(name: str, complaint: str, in_tmp_path: Path) -> None:
    (in_tmp_path / "taken.npy").mkdir()
    with pytest.raises(click.UsageError) as raised:
        check_output(Path(name))
    assert raised.value.message == complaint


def test_both_outputs_hold_the_same_results(tmp_path: Path) -> None:
    arrays = [np.array([1.5, 2.5]), np.array([3.5, 4.5])]
    records = [{"index": i, "embedding": array.tolist(), "label": "é"} for i, array in enumerate(arrays)]
    write_output(tmp_path / "out.npy", records, arrays)
    write_output(tmp_path / "out.jsonl", records, arrays)
    loaded = np.load(tmp_path / "out.npy")
    assert (loaded.dtype, loaded.tolist()) == (np.float32, [[1.5, 2.5], [3.5, 4.5]])
    text = (tmp_path / "out.jsonl").read_text("utf-8")
    assert [json.loads(line) for line in text.splitlines()] == records
    assert "é" in text


def test_an_output_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_output(tmp_path / "out.jsonl", [{}], [1.0])
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", "out.jsonl")}
    assert len(modes) == 1


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_output(path, [{"index": 0}, {"index": object()}], [1.0, 2.0])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_rows_of_different_lengths_are_no_array(tmp_path: Path) -> None:
    with pytest.raises(
        click.UsageError, match=r"rows differ in length, \.npy cannot hold them; use --output NAME\.jsonl"
    ):
        write_output(tmp_path / "out.npy", [{}, {}], [np.zeros((2, 5)), np.zeros((3, 5))])
    assert os.listdir(tmp_path) == []
