"""Bad input: one line that says what is wrong, the right exit code, nothing on stdout, nothing half-written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.manifest import GOLDEN_NAME, MANIFEST_NAME

from .conftest import Result, edit_manifest

Call = Callable[..., Result]
Folder = Callable[..., Path]

pytestmark = pytest.mark.torch


def refused(result: Result, code: int, *parts: str) -> None:
    """Assert that a command failed as it should, and said all of `parts`."""
    message = result.error()
    assert result.code == code, message
    assert "Traceback" not in result.err
    assert [part for part in parts if part not in message] == [], message


# --------------------------------------------------------------------------------- what is to be exported


def test_a_folder_that_does_not_exist(call: Call, in_tmp_path: Path) -> None:
    refused(call("./no/such/model"), 1, "./no/such/model", "expected a checkpoint folder or a Hub id")
    refused(call("./bundle"), 1, "./bundle", "expected a checkpoint folder or a Hub id")
    refused(call("embed", "./bundle", "a text"), 1, "./bundle", "expected a checkpoint folder or a Hub id")
    assert os.listdir() == []


def test_a_hub_id_that_cannot_be_reached(process: Call, tmp_path: Path) -> None:
    refused(process("no-such-org/no-such-model", HF_HUB_OFFLINE="1"), 1, "no-such-org/no-such-model", "check the name")
    assert os.listdir(tmp_path) == []


def test_a_file_is_no_checkpoint(call: Call, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    refused(call(tmp_path / "model.onnx"), 1, "model.onnx is a file", "expected a checkpoint folder or a Hub id")


def test_an_empty_folder_is_no_checkpoint(call: Call, tmp_path: Path) -> None:
    refused(call(tmp_path), 1, str(tmp_path), "config.json", "expected a Hugging Face checkpoint")


def test_a_model_with_no_pooling_use(tiny_folder: Folder, process: Call, tmp_path: Path) -> None:
    result = process(tiny_folder("bert", "masked_lm"), "-o", "out")
    refused(result, 1, "BertForMaskedLM", "SPLADE", "--convert embed")
    assert os.listdir(tmp_path) == []


def test_question_answering_has_no_pooling_use_either(tiny_folder: Folder, call: Call, in_tmp_path: Path) -> None:
    model = shutil.copytree(tiny_folder("bert"), "qa")
    config = json.loads((Path(model) / "config.json").read_text())
    (Path(model) / "config.json").write_text(json.dumps({**config, "architectures": ["BertForQuestionAnswering"]}))
    refused(call("qa"), 1, "BertForQuestionAnswering", "--convert embed|classify|reward")


@pytest.mark.parametrize("module", ["sentence_transformers.models.LSTM", "my_code.Whitening"])
def test_a_module_that_cannot_be_exported_is_named(
    module: str, tiny_folder: Folder, call: Call, in_tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_folder("bert"), "model"))
    chain = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Odd", "type": module},
    ]
    (model / "modules.json").write_text(json.dumps(chain))
    refused(call("model", "-o", "out"), 1, module)
    assert os.listdir() == ["model"]


def test_weights_that_are_not_there_are_not_invented(tiny_folder: Folder, call: Call, in_tmp_path: Path) -> None:
    refused(call(tiny_folder("bert"), "--convert", "classify", "-o", "out"), 1, "bert-base", "classifier")
    assert os.listdir() == []


def test_json_that_is_broken_is_named_by_its_file(tiny_folder: Folder, call: Call, in_tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_folder("bert"), "model"))
    (model / "config.json").write_text("{")
    refused(call("model"), 1, "config.json", "JSON")


# ------------------------------------------------------------------------------------------- its options


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--pooler-config", '{"poling_type": "LAST"}'], ["'poling_type'", "did you mean 'pooling_type'?"]),
        (["--pooler-config", "{pooling_type: LAST}"], ["'--pooler-config'", "expected a JSON object"]),
        (["--pooler-config", '["LAST"]'], ["'--pooler-config'", "expected a JSON object, got list"]),
        (["--hf-overrides", "7"], ["'--hf-overrides'", "expected a JSON object, got int"]),
        (["--convert", "embedd"], ["'--convert'", "'embedd'", "'embed'"]),
        (["--opset", "17"], ["opset must be in [18, 23], got 17"]),
        (["--opset", "99"], ["opset must be in [18, 23], got 99"]),
        (["--opset", "twenty"], ["'--opset'", "twenty"]),
        (["--max-model-len", "0"], ["max_model_len must be at least 1, got 0"]),
        (["--revision", "main"], ["--revision applies to Hub ids", "drop one of them"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_an_option_that_cannot_be_is_wrong_usage(
    words: list[str], parts: list[str], tiny_folder: Folder, call: Call, in_tmp_path: Path
) -> None:
    refused(call(tiny_folder("bert"), *words), 2, *parts)
    assert os.listdir() == []


def test_an_unknown_pooler_config_key_in_a_process_of_its_own(tiny_folder: Folder, process: Call) -> None:
    result = process(tiny_folder("bert"), "--pooler-config", '{"normalise": true}')
    refused(result, 2, "unknown pooler-config key 'normalise'", "did you mean 'normalize'?")


def test_an_unknown_pooling_type_lists_the_known_ones(tiny_folder: Folder, call: Call, in_tmp_path: Path) -> None:
    result = call(tiny_folder("bert"), "--pooler-config", '{"pooling_type": "FIRST"}')
    refused(result, 2, "unknown pooling type 'FIRST'", "ALL, CLS, LAST, MAX, MEAN")


def test_a_limit_above_the_model_s(tiny_folder: Folder, call: Call, in_tmp_path: Path) -> None:
    refused(call(tiny_folder("bert"), "--max-model-len", 4096, "-o", "out"), 1, "4096", "128")
    assert os.listdir() == []


# ----------------------------------------------------------------------------------------- where it goes


def test_an_existing_bundle_is_kept_without_force(classifier: Path, tiny_folder: Folder, call: Call) -> None:
    before = (classifier / MANIFEST_NAME).read_bytes()
    refused(call(tiny_folder("bert"), "-o", classifier), 1, str(classifier), "already holds a bundle", "--force", "-o")
    assert (classifier / MANIFEST_NAME).read_bytes() == before


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_what_is_no_bundle_is_never_replaced(
    force: list[str], tiny_folder: Folder, call: Call, in_tmp_path: Path
) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.txt").write_text("dear")
    Path("file").write_text("dear")
    for target in ("thesis", "file"):
        refused(call(tiny_folder("bert"), "-o", target, *force), 1, target, "not a bundle", "never replaced", "-o")
    assert (Path("thesis/chapter.txt").read_text(), Path("file").read_text()) == ("dear", "dear")


def test_a_target_that_cannot_be_written(tiny_folder: Folder, call: Call) -> None:
    refused(call(tiny_folder("bert"), "-o", "/proc/out"), 1, "/proc/out")


_TOKENIZER, _GRAPH = 4_000, 100_000  # bytes: where a disk of that size is full


@pytest.mark.parametrize("room", [_TOKENIZER, _GRAPH], ids=["at the tokenizer", "at the graph"])
def test_a_full_disk_leaves_nothing(room: int, tiny_folder: Folder, process: Call, tmp_path: Path) -> None:
    def limit() -> None:  # a file of this process may not grow beyond `room` bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    result = process(tiny_folder("bert"), "-o", "out", preexec=limit)
    refused(result, 1, "cannot be written" if room == _TOKENIZER else "nothing was left behind", "File too large")
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------------------- damaged bundles


def test_a_manifest_that_is_not_json(damaged: Path, process: Call) -> None:
    (damaged / MANIFEST_NAME).write_text('{"format": 1,')
    refused(process("inspect", damaged), 1, MANIFEST_NAME, "is not valid JSON", "export the model again")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"format": 2}, ["has format 2, this version reads up to 1", "pip install -U pool-export"]),
        ({"format": None}, ["`format`", "not a pool-export bundle"]),
        ({"tasks": "embed"}, ["tasks", "damaged", "export the model again"]),
        ({"graphs": []}, ["graphs", "damaged"]),
    ],
    ids=["newer", "no format", "wrong type", "no graphs"],
)
@pytest.mark.parametrize("command", ["inspect", "verify", "classify"])
def test_a_manifest_that_does_not_fit(
    command: str, changes: dict[str, Any], parts: list[str], damaged: Path, call: Call
) -> None:
    edit_manifest(damaged, **changes)
    refused(call(command, damaged, *["a text"] * (command == "classify")), 1, MANIFEST_NAME, *parts)


@pytest.mark.parametrize("path", ["../secret.onnx", "/etc/passwd", "onnx/../../x", "link.onnx"])
def test_a_path_that_leaves_the_bundle(path: str, damaged: Path, call: Call) -> None:
    (damaged / "link.onnx").symlink_to("/etc/passwd")
    graphs = json.loads((damaged / MANIFEST_NAME).read_text())["graphs"]
    graphs["fp32"]["files"][0]["path"] = path
    edit_manifest(damaged, graphs=graphs)
    for command in ("inspect", "verify"):
        refused(call(command, damaged), 1, repr(path), "outside the bundle")


def test_a_truncated_graph(damaged: Path, process: Call) -> None:
    graph = damaged / "onnx/model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    refused(process("classify", damaged, "a text"), 1, "onnx/model.onnx has 1000 bytes", "truncated")


def test_a_truncated_graph_of_the_recorded_size(damaged: Path, call: Call) -> None:
    graph = damaged / "onnx/model.onnx"
    size = graph.stat().st_size
    graph.write_bytes(graph.read_bytes()[:1000].ljust(size, b"\0"))
    refused(call("classify", damaged, "a text"), 1, "onnx/model.onnx cannot be loaded", "export the model again")
    refused(call("verify", damaged), 1, "onnx/model.onnx", "sha256", "export the model again")


@pytest.mark.parametrize("name", ["tokenizer.json", "onnx/model.onnx"])
def test_a_file_that_is_missing(name: str, damaged: Path, call: Call) -> None:
    (damaged / name).unlink()
    refused(call("inspect", damaged), 1, name, "is missing", "export the model again")


@pytest.mark.parametrize("content", [None, "{", '{"format": 9, "model": "", "tolerance": {}, "cases": []}'])
def test_golden_vectors_that_cannot_be_read(content: str | None, damaged: Path, call: Call) -> None:
    (damaged / GOLDEN_NAME).unlink()
    if content is not None:
        (damaged / GOLDEN_NAME).write_text(content)
    refused(call("verify", damaged), 1, GOLDEN_NAME)


def test_a_folder_without_a_manifest(call: Call, tmp_path: Path) -> None:
    refused(call("inspect", tmp_path), 1, f"{tmp_path} has no {MANIFEST_NAME}", "make one with: pool-export MODEL")
    refused(call("verify", tmp_path / "none"), 1, "does not exist", "make one with: pool-export MODEL")


# ------------------------------------------------------------------------------------------- texts to run


@pytest.mark.parametrize(
    ("words", "stdin", "parts"),
    [
        (["--input", "latin.txt"], b"", ["latin.txt is not UTF-8 text", "at byte 3"]),
        (["--input", "-"], b"caf\xe9", ["- is not UTF-8 text", "at byte 3"]),
        (["--input", "empty.txt"], b"", ["empty.txt holds no text"]),
        (["--input", "-"], b"", ["- holds no text"]),
        (["--input", "bad.jsonl"], b"", ["bad.jsonl line 2 is not JSON"]),
        (["--input", "missing.txt"], b"", ["missing.txt cannot be read", "No such file"]),
        (["--input", "latin.txt", "and a text"], b"", ["not both"]),
        ([], b"", ["no text was given"]),
        (["a text", "--output", "out.csv"], b"", ["--output must end in .jsonl or .npy"]),
        (["a text", "--output", "none/out.npy"], b"", ["the folder none does not exist"]),
        (["a text", "--device", "tpu"], b"", ["'--device'", "'tpu'"]),
        (["a text", "--threads", "x"], b"", ["'--threads'"]),
    ],
)
def test_wrong_usage_of_a_bundle(
    words: list[str], stdin: bytes, parts: list[str], classifier: Path, call: Call, in_tmp_path: Path
) -> None:
    files = {"latin.txt": b"caf\xe9\n", "empty.txt": b"", "bad.jsonl": b'"a"\n{"text": \n'}
    for name, content in files.items():
        Path(name).write_bytes(content)
    refused(call("classify", classifier, *words, stdin=stdin), 2, *parts)
    assert sorted(os.listdir()) == sorted(files)


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("embed", ["Embedding API is not supported by this model", "`--convert embed`", "classify"]),
        ("reward", ["Reward API is not supported by this model", "`--convert reward`"]),
        ("score", ["Scoring API is only enabled for num_labels == 1."]),
    ],
)
def test_a_task_the_model_does_not_have(command: str, parts: list[str], classifier: Path, call: Call) -> None:
    refused(call(command, classifier, "a text", "another"), 1, *parts)


def test_a_query_without_documents(scorer: Path, call: Call) -> None:
    refused(call("score", scorer, "a query"), 2, "give a query and at least one document")


def test_options_that_cannot_work_together_with_a_bundle(classifier: Path, call: Call) -> None:
    refused(call("classify", classifier, "a", "--precision", "fp16"), 1, "no fp16 graph", "available: fp32")
    refused(call("classify", classifier, "a", "--max-batch-size", "0"), 1, "max_batch_size must be at least 1, got 0")


def test_results_that_cannot_be_written(classifier: Path, process: Call) -> None:
    refused(process("classify", classifier, "a", "--output", "/proc/out.npy"), 1, "/proc/out.npy cannot be written")


def test_a_full_disk_behind_stdout(classifier: Path, process: Call) -> None:
    script = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); from pool_export.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "classify", str(classifier), "a"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "Error: reading or writing failed: No space left on device\n")
