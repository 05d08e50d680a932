"""The text-input graph, from the option to the file: exact, or refused with the strings that differ."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnxruntime_extensions import get_library_path
from transformers import AutoTokenizer

from pool_export.export import write
from pool_export.export.errors import ExportError, ParityError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.export.text_input import check, wordpiece
from pool_export.export.text_input.compose import text_part, tokenizer_program
from pool_export.export.text_input.step import checked_text_part
from pool_export.models_zoo.fuzz_texts import fuzz_texts
from pool_export.poolers.spec import PoolingSpec
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.errors import BundleError
from pool_export.runtime.golden import dense, read_golden
from pool_export.runtime.manifest import TokenizerPolicy

POLICY = TokenizerPolicy(max_length=128)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Callable[..., Path]) -> Path:
    return tiny_bundle("bert", "base", export={"text_input": True}, layers=1)


@pytest.fixture(scope="module")
def embedder(bundle: Path) -> PoolingSpec:
    return open_bundle(bundle).manifest.pooling


@pytest.fixture
def short_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thirtieth string of the corpus."""
    monkeypatch.setattr(
        check, "fuzz_texts", lambda specials: {name: texts[::30] for name, texts in fuzz_texts(specials).items()}
    )
    monkeypatch.setattr(check, "_FLOOR", 150)


def session_of(folder: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    return onnxruntime.InferenceSession(
        str(folder / "onnx/model_text.onnx"), options, providers=["CPUExecutionProvider"]
    )


def test_the_manifest_says_how_it_was_made_and_checked(bundle: Path):
    manifest = open_bundle(bundle).manifest
    assert manifest.text is not None
    assert (manifest.text.tokenizer, manifest.text.graph.opset) == ("wordpiece", 20)
    assert manifest.text.check["strings"] >= 5000
    assert manifest.text.check["golden"] >= 24
    assert manifest.text.check["max_abs"] < 1e-5
    (text,) = manifest.text.graph.inputs
    assert (text.name, text.dtype, text.shape) == ("text", "string", (1,))
    assert manifest.text.graph.outputs == manifest.graphs["fp32"].outputs
    assert manifest.text.graph.operators["ai.onnx.contrib.WordpieceTokenizer"] == 1
    assert "onnx/model_text.onnx" in (bundle / "README.md").read_text("utf-8")


def test_the_graph_gives_the_golden_vectors(bundle: Path):
    session, golden = session_of(bundle), read_golden(open_bundle(bundle))
    replayed = 0
    for case in golden.cases:
        (vector,) = session.run(["sentence_embedding"], {"text": np.array([case.text], dtype=object)})
        assert vector.shape[0] == 1
        np.testing.assert_allclose(vector[0], dense(case.outputs["sentence_embedding"]), atol=1e-5)
        replayed += 1
    assert replayed >= 24


def test_verify_covers_its_hash(bundle: Path, tmp_path: Path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    assert open_bundle(copy).verify_hashes() == ["onnx/model.onnx", "onnx/model_text.onnx"]
    data = bytearray((copy / "onnx/model_text.onnx").read_bytes())
    data[-100] ^= 1
    (copy / "onnx/model_text.onnx").write_bytes(data)
    with pytest.raises(BundleError, match=r"onnx/model_text\.onnx: sha256"):
        open_bundle(copy).verify_hashes()


@pytest.mark.usefixtures("short_corpus")
def test_large_weights_lie_beside_the_text_graph_too(tiny_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Strings cannot be external data, and weights near two gigabytes must be."""
    monkeypatch.setattr(write, "EXTERNAL_DATA_THRESHOLD", 1000)
    model = str(tiny_folder("bert", layers=1))
    result = export_model(ExportRequest(model=model, output=tmp_path / "bundle", text_input=True))
    assert result.manifest.text is not None
    assert [file.path for file in result.manifest.text.graph.files] == [
        "onnx/model_text.onnx", "onnx/model_text.onnx_data",
    ]  # fmt: skip
    (vector,) = session_of(result.folder).run(["sentence_embedding"], {"text": np.array(["a text"], dtype=object)})
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("short_corpus")
@pytest.mark.parametrize("family", ["distilbert", "mpnet"])
def test_other_wordpiece_families_agree(tiny_folder: Any, embedder: PoolingSpec, family: str):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder(family, layers=1))
    part, report = checked_text_part(tokenizer, POLICY, embedder, 20)
    assert part.kind == "wordpiece"
    assert report["strings"] >= 150


def test_a_tokenizer_that_differs_fails_the_export_and_nothing_is_written(tiny_folder: Any, tmp_path: Path):
    request = ExportRequest(model=str(tiny_folder("qwen3", layers=1)), output=tmp_path / "bundle", text_input=True)
    with pytest.raises(ParityError) as caught:
        export_model(request)
    message = str(caught.value)
    assert "differs from Qwen2Tokenizer on " in message
    assert re.search(r" on \d+ of 6\d{3} strings \(.*combining marks \d+ of 400", message)
    assert message.count(", expected [") == 3
    assert "export without --text-input" in message
    assert list(tmp_path.iterdir()) == []


def test_the_letters_that_stand_for_special_tokens_inside_are_ordinary_in_a_text(bundle: Path):
    """Whatever letters the graph uses for itself, a text that has them is read as the tokenizer reads it."""
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    program = tokenizer_program(
        text_part(tokenizer.backend_tokenizer.to_str(), POLICY, open_bundle(bundle).manifest.pooling, 20), 20
    )
    session = check.TextSession(ir.to_proto(program).SerializeToString())
    for letter in map(chr, range(0x10000, 0x10020)):
        for text in (letter, f"a{letter}b {letter}", f"[SEP]{letter}[SEP] {letter * 101}", f"{letter}\u0301.{letter}"):
            assert session.run(text)[0][0].tolist() == tokenizer(text)["input_ids"], ascii(text)


def test_an_operator_that_fails_is_a_difference(
    tiny_folder: Any, embedder: PoolingSpec, monkeypatch: pytest.MonkeyPatch
):
    def broken(self: Any, text: str, names: Any = None) -> Any:
        raise ValueError("an operator gave up\nmore lines")

    monkeypatch.setattr(check.TextSession, "run", broken)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("bert", layers=1))
    with pytest.raises(ParityError, match=r"on 6\d{3} of 6\d{3} strings .* fails \(an operator gave up\), expected"):
        checked_text_part(tokenizer, POLICY, embedder, 20)


@pytest.mark.usefixtures("short_corpus")
def test_unigram_is_refused_by_name(tiny_folder: Any, embedder: PoolingSpec):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("xlm-roberta", layers=1))
    with pytest.raises(ExportError, match="onnxruntime-extensions cannot load this tokenizer"):
        checked_text_part(tokenizer, POLICY, embedder, 20)


@pytest.mark.usefixtures("short_corpus")
def test_a_wrong_table_of_characters_is_found(tiny_folder: Any, embedder: PoolingSpec, monkeypatch: pytest.MonkeyPatch):
    """The planted fault: the graph takes one punctuation mark for a letter."""
    right = wordpiece.read_characters

    def wrong(tokenizer: Any) -> Any:
        found = right(tokenizer)
        found.alone.discard(".")
        return found

    monkeypatch.setattr(wordpiece, "read_characters", wrong)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("bert", layers=1))
    with pytest.raises(ParityError, match=r"differs from .*words \d+ of"):
        checked_text_part(tokenizer, POLICY, embedder, 20)


def test_a_corpus_that_shrank_proves_too_little(
    tiny_folder: Any, embedder: PoolingSpec, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(check, "fuzz_texts", lambda specials: {"words": ("a word",)})
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("bert", layers=1))
    with pytest.raises(ParityError, match="only 1 strings could be compared, expected 5000"):
        checked_text_part(tokenizer, POLICY, embedder, 20)


def test_a_vector_that_differs_is_found(bundle: Path):
    golden = read_golden(open_bundle(bundle))
    golden.cases[3].outputs["sentence_embedding"][0] += 1e-3
    with pytest.raises(ParityError, match=r"the text graph differs from the reference by 1\.0e-03"):
        check.check_vectors(bundle / "onnx/model_text.onnx", golden, ["sentence_embedding"])


@pytest.mark.parametrize(
    ("kind", "policy", "opset", "message"),
    [
        (None, POLICY, 18, "string operators need --opset 20 or later, got 18"),
        (None, TokenizerPolicy(max_length=64, pad_to_max_length=True), 20, "pads every text to one length"),
        ("WordLevel", POLICY, 20, "a WordLevel tokenizer is not known"),
    ],
)
def test_what_has_no_text_part_is_said_at_once(
    tiny_folder: Any, embedder: PoolingSpec, kind: str | None, policy: TokenizerPolicy, opset: int, message: str
):
    content = json.loads((tiny_folder("bert", layers=1) / "tokenizer.json").read_text("utf-8"))
    if kind is not None:
        content["model"] = {"type": kind, "vocab": content["model"]["vocab"], "unk_token": "[UNK]"}
    with pytest.raises(ExportError, match=message):
        text_part(json.dumps(content), policy, embedder, opset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["normalizer"].update(clean_text=False), "clean_text=false"),
        (lambda content: content.update(normalizer={"type": "Lowercase"}), "normalizer Lowercase is not known"),
        (lambda content: content["added_tokens"][0].update(single_word=True), "whole words only"),
        (lambda content: content["added_tokens"][1].update(content="[PAD][PAD]"), "can overlap"),
    ],
)
def test_what_a_wordpiece_part_cannot_represent_is_named(
    tiny_folder: Any, embedder: PoolingSpec, change: Callable[[dict[str, Any]], None], message: str
):
    content = json.loads((tiny_folder("bert", layers=1) / "tokenizer.json").read_text("utf-8"))
    content["post_processor"] = None
    change(content)
    with pytest.raises(ExportError, match=message):
        tokenizer_program(text_part(json.dumps(content), POLICY, embedder, 20), 20)
