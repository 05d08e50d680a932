"""What lies beside the graph: tokenizer files every host reads, config, golden answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pool_export.export.errors import SourceError
from pool_export.export.golden_file import write_golden
from pool_export.export.samples import Sample
from pool_export.export.sidecars import write_config, write_tokenizer, write_transformers_js
from pool_export.export.st_files import write_sentence_transformers
from pool_export.models_zoo.texts import hard_texts, pairs
from pool_export.models_zoo.tiny import FAMILIES, write_tiny
from pool_export.runtime.bars import BARS, Bars
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.golden import read_golden
from pool_export.runtime.manifest import FileInfo, GraphInfo, TokenizerPolicy
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.replay import replay
from pool_export.runtime.tokens import Encoded, TextTokenizer


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


# --------------------------------------------------------------------------------------------------- tokenizers


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_tokenizer_gives_the_ids_of_transformers(
    tmp_path: Path, tiny_folder: Any, adapted: Any, family: str
):
    checkpoint = tiny_folder(family, layers=max(1, len(FAMILIES[family].layer_types)))
    composed = adapted(checkpoint)
    write_tokenizer(tmp_path, composed.source, composed.tokenizer, 77)
    shipped, wanted = Tokenizer.from_file(str(tmp_path / "tokenizer.json")), AutoTokenizer.from_pretrained(checkpoint)
    for text in hard_texts():
        assert shipped.encode(text).ids == wanted(text)["input_ids"]
    for query, document in pairs()[:8]:
        assert shipped.encode(query, document).ids == wanted(query, document)["input_ids"]
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(hard_texts()[3])["input_ids"] == wanted(hard_texts()[3])["input_ids"]
    assert again.model_max_length == 77
    # transformers 4 does not know the name that transformers 5 writes.
    assert read(tmp_path / "tokenizer_config.json")["tokenizer_class"] != "TokenizersBackend"


def test_fixed_padding_and_truncation_are_taken_out(tmp_path: Path, adapted: Any):
    checkpoint = write_tiny(tmp_path / "model", "bert", layers=0)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(8)
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    composed = adapted(checkpoint)
    (tmp_path / "out").mkdir()
    write_tokenizer(tmp_path / "out", composed.source, composed.tokenizer, 128)
    content = read(tmp_path / "out" / "tokenizer.json")
    assert content["padding"] is content["truncation"] is None


def test_files_that_other_hosts_ask_for_are_there(tmp_path: Path, adapted: Any):
    checkpoint = write_tiny(tmp_path / "model", "bert", layers=0)
    (checkpoint / "vocab.txt").write_text("[PAD]\n")
    composed = adapted(checkpoint)
    (tmp_path / "out").mkdir()
    write_tokenizer(tmp_path / "out", composed.source, composed.tokenizer, 128)
    assert (tmp_path / "out" / "vocab.txt").read_text() == "[PAD]\n"
    assert read(tmp_path / "out" / "special_tokens_map.json") == {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }


def test_a_tokenizer_without_a_json_form_is_refused(tmp_path: Path, adapted: Any, small_bert: Path):
    class Slow:
        def save_pretrained(self, folder: Path) -> None:
            (folder / "spiece.model").write_bytes(b"")

    with pytest.raises(SourceError, match=r"Slow did not write tokenizer\.json"):
        write_tokenizer(tmp_path, adapted(small_bert).source, Slow(), 128)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- config


def test_the_config_holds_the_overrides(tmp_path: Path, adapted: Any, small_bert: Path):
    composed = adapted(small_bert, hf_overrides={"matryoshka_dimensions": [8, 16]})
    write_config(tmp_path, composed.source, composed.spec)
    assert read(tmp_path / "config.json") == {**read(small_bert / "config.json"), "matryoshka_dimensions": [8, 16]}


@pytest.mark.parametrize(
    ("head", "options"),
    [("sequence_3", {}), ("base", {"convert": "reward"}), ("base", {"pooler_config": {"pooling_type": "ALL"}})],
)
def test_only_pooled_embedders_have_sentence_transformers_files(
    tmp_path: Path, adapted: Any, tiny_folder: Any, head: str, options: dict[str, Any]
):
    composed = adapted(tiny_folder("bert", head, layers=1), **options)
    write_sentence_transformers(tmp_path, composed.source, composed.spec, TokenizerPolicy(max_length=128))
    assert list(tmp_path.iterdir()) == []


def test_transformers_js_is_told_which_file_and_what_lies_beside_it(tmp_path: Path):
    def graph(*paths: str) -> GraphInfo:
        files = tuple(FileInfo(path=f"onnx/{path}", size=1, sha256="") for path in paths)
        return GraphInfo(files=files, opset=20, inputs=(), outputs=())

    (tmp_path / "config.json").write_text('{"model_type": "bert", "transformers.js_config": {"dtype": "q4"}}')
    write_transformers_js(tmp_path, {"fp32": graph("model.onnx")})
    assert read(tmp_path / "config.json") == {"model_type": "bert", "transformers.js_config": {"dtype": "fp32"}}
    graphs = {"fp32": graph("model.onnx", "model.onnx_data"), "int8": graph("model_int8.onnx")}
    write_transformers_js(tmp_path, graphs)
    said = {"dtype": "fp32", "use_external_data_format": {"model.onnx": 1}}
    assert read(tmp_path / "config.json")["transformers.js_config"] == said


def test_the_limit_of_a_checkpoints_truncation_is_dropped(minilm_folder: Path, minilm_bundle: Path):
    """transformers makes `max_length` of it, and fastembed cuts at the smaller of the two."""
    assert read(minilm_folder / "tokenizer.json")["truncation"]["max_length"] == 128, "no such limit to drop"
    config = read(minilm_bundle / "tokenizer_config.json")
    assert "max_length" not in config
    assert config["model_max_length"] == 256
    assert read(minilm_bundle / "config.json")["transformers.js_config"]["dtype"] == "fp32"


# ------------------------------------------------------------------------------------------------------- golden


def _sample(tokens: int, *, truncated: bool = False, **prompt: Any) -> Sample:
    return Sample(Prompt(**prompt), Encoded(list(range(5, 5 + tokens)), [0] * tokens, truncated=truncated))


@pytest.fixture
def written(tmp_path: Path, tiny_bundle: Any) -> Callable[..., list[dict[str, Any]]]:
    """Return `written(samples, outputs)`: the cases of the golden file made of them; the limit is 128 tokens."""
    folder = tiny_bundle("bert", layers=1)
    tokenizer = TextTokenizer(folder / "tokenizer.json", open_bundle(folder).manifest.tokenizer)

    def cases(samples: list[Sample], expected: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        names = options.pop("outputs", ("sentence_embedding", "last_hidden_state"))
        count = write_golden(tmp_path, "m", samples, expected, tokenizer=tokenizer, outputs=names, **options)
        golden = read(tmp_path / "golden.json")
        assert (golden["format"], golden["model"], len(golden["cases"])) == (1, "m", count)
        found: list[dict[str, Any]] = golden["cases"]
        return found

    return cases


def test_golden_numbers_survive_as_float32(written: Any):
    value = np.array([1 / 3, -123456.789, 1e-12, 0.0])
    (case,) = written([_sample(2, text="a")], [{"sentence_embedding": value}])
    np.testing.assert_array_equal(np.float32(case["outputs"]["sentence_embedding"]), value.astype(np.float32))
    assert (case["text"], case["pair"]) == ("a", None)
    assert (case["input_ids"], case["token_type_ids"]) == ([5, 6], [0, 0])


def test_golden_has_the_longest_whole_text_and_one_that_is_cut(written: Any):
    samples = [
        _sample(2, text="short", pair="b"),
        _sample(49, text="long"),
        _sample(120, text="longer"),
        _sample(128, text="cut by the model", truncated=True),
        _sample(128, text="cut again", truncated=True),
        _sample(100, text="cut by the gate", truncated=True),
        _sample(90, text="longer", pair="than usual"),
        _sample(97, text="too long", pair="for a pair"),
        _sample(3, token_ids=(5, 6, 7)),
    ]
    cases = written(samples, [{"logits": np.zeros(2)}] * len(samples))
    assert [(case["text"], case.get("truncated", False)) for case in cases] == [
        ("short", False), ("longer", False), ("cut by the model", True), ("longer", False),
    ]  # fmt: skip


def test_golden_leaves_out_enormous_token_outputs(written: Any):
    samples = [_sample(2, text="small"), _sample(30, text="big")]
    outputs = [{"rewards": np.zeros((2, 1024))}, {"rewards": np.zeros((30, 1024))}]
    assert [case["text"] for case in written(samples, outputs)] == ["small"]


def test_golden_of_a_wide_model_keeps_pairs_and_the_long_text_and_stays_small(written: Any):
    samples = [_sample(9, text=f"text {index}") for index in range(60)]
    samples += [_sample(9, text="a", pair="b"), _sample(120, text="long")]
    cases = written(samples, [{"sentence_embedding": np.zeros(4096)}] * len(samples))
    texts = [case["text"] for case in cases]
    assert texts == [*(f"text {index}" for index in range(46)), "a", "long"], "200,000 numbers"


def test_golden_states_the_other_outputs_of_a_few_short_texts(written: Any):
    lengths = (2, 8, 3, 5, 9)
    rows = [
        {"sentence_embedding": np.zeros(4), "last_hidden_state": np.ones((size, 4)), "token_embeddings": np.ones(4)}
        for size in lengths
    ]
    cases = written([_sample(size, text=str(size)) for size in lengths], rows)
    more = {case["text"] for case in cases if set(case["outputs"]) == {"sentence_embedding", "last_hidden_state"}}
    assert more == {"8", "3", "5"}, "token_embeddings are no output of the graph"
    assert all(list(case["outputs"]) == ["sentence_embedding"] for case in cases if case["text"] not in more)


def test_golden_keeps_token_vectors_where_they_are_the_answer(written: Any):
    tokens = np.zeros((9, 4))
    (case,) = written([_sample(9, text="a")], [{"token_embeddings": tokens, "last_hidden_state": tokens}])
    assert list(case["outputs"]) == ["token_embeddings"]


def test_golden_states_the_bars_of_every_precision(written: Any, tmp_path: Path):
    own = Bars(max_abs=1e-2, min_cosine=0.98)
    written([_sample(2, text="a")], [{"logits": np.zeros(2)}], precision="int8", bars=own)
    golden = read(tmp_path / "golden.json")
    assert golden["tolerance"] == {"max_abs": 1e-2, "min_cosine": 0.98}
    assert golden["tolerances"]["int8"] == dataclasses.asdict(own)
    assert golden["tolerances"]["fp32"] == dataclasses.asdict(BARS["fp32"])


def test_minilm_has_two_dozen_golden_texts_the_empty_one_among_them(minilm_bundle: Path, open_llm: Any):
    golden = read_golden(open_bundle(minilm_bundle))
    assert len(golden.cases) >= 24
    (empty,) = [case for case in golden.cases if case.text == ""]
    assert len(empty.input_ids) == 2
    assert len(empty.outputs["sentence_embedding"]) == 384
    assert any(not case.text.isascii() for case in golden.cases)
    assert [len(case.input_ids) for case in golden.cases if case.truncated] == [256]
    assert max(len(case.input_ids) for case in golden.cases if not case.truncated) > 100
    assert minilm_bundle.joinpath("golden.json").stat().st_size < 600_000
    more = [case for case in golden.cases if len(case.outputs) > 1]
    assert {name for case in more for name in case.outputs} == {
        "sentence_embedding", "last_hidden_state", "unnormalized_embedding",
    }  # fmt: skip
    result = replay(open_llm(minilm_bundle).engine)
    assert result.passed
    assert result.max_abs < 1e-5


def test_golden_of_a_cross_encoder_has_pairs_with_their_segments(tiny_bundle: Any):
    golden = read_golden(open_bundle(tiny_bundle("bert", "sequence_1", layers=1)))
    paired = [case for case in golden.cases if case.pair is not None]
    assert len(paired) >= 2
    assert all(set(case.token_type_ids) == {0, 1} for case in paired)
    assert all(set(case.outputs) == {"logits", "probs"} for case in golden.cases)
