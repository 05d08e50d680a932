"""`embed`, `classify`, `score`, `reward`: the numbers are the API's, in whichever form they are asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export import LLM, PoolingParams

from .conftest import COMMAND, Result, edit_manifest

Call = Callable[..., Result]

TEXTS = ["a quiet street", "the harbour at night, with all its ships", "日本語"]


def records(result: Result) -> list[dict[str, Any]]:
    assert (result.code, result.err) == (0, "")
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def matryoshka(minilm_bundle: Path, tmp_path: Path) -> Path:
    """Return MiniLM as if it had been trained for 64 and 128 dimensions too."""
    copy = shutil.copytree(minilm_bundle, tmp_path / "matryoshka", copy_function=os.link)
    edit_manifest(copy, pooling={"is_matryoshka": True, "matryoshka_dimensions": [64, 128]})
    return Path(copy)


# ------------------------------------------------------------------------------------------ the four commands


def test_embed_answers_what_the_api_does(minilm_bundle: Path, call: Call) -> None:
    expected = [item.outputs.embedding for item in LLM(minilm_bundle).embed(TEXTS, use_tqdm=False)]
    found = records(call("embed", minilm_bundle, *TEXTS))
    assert found == [{"index": i, "embedding": vector} for i, vector in enumerate(expected)]


def test_classify_answers_what_the_api_does_and_names_the_label(classifier: Path, call: Call) -> None:
    expected = [item.outputs.probs for item in LLM(classifier).classify(TEXTS, use_tqdm=False)]
    labels = ("negative", "neutral", "positive")
    found = records(call("classify", classifier, *TEXTS))
    assert found == [
        {"index": i, "label": labels[probs.index(max(probs))], "probs": probs} for i, probs in enumerate(expected)
    ]


@pytest.mark.torch
def test_reward_answers_what_the_api_does(rewarder: Path, call: Call) -> None:
    expected = [item.outputs.data.tolist() for item in LLM(rewarder).reward(TEXTS, use_tqdm=False)]
    found = records(call("reward", rewarder, *TEXTS))
    assert found == [{"index": i, "rewards": rewards} for i, rewards in enumerate(expected)]
    assert len({len(rewards) for rewards in expected}) > 1, "one row a token"


@pytest.mark.parametrize("model", ["scorer", "minilm_bundle"], ids=["cross-encoder", "embedding model"])
def test_score_takes_a_query_and_its_documents(model: str, request: pytest.FixtureRequest, call: Call) -> None:
    bundle = request.getfixturevalue(model)
    expected = [item.outputs.score for item in LLM(bundle).score(TEXTS[0], TEXTS[1:], use_tqdm=False)]
    assert records(call("score", bundle, *TEXTS)) == [{"index": i, "score": score} for i, score in enumerate(expected)]


def test_score_takes_a_query_and_a_file_of_documents(scorer: Path, call: Call) -> None:
    piped = call("score", scorer, TEXTS[0], "--input", "-", stdin="\n".join(TEXTS[1:]).encode())
    assert records(piped) == records(call("score", scorer, *TEXTS))


@pytest.mark.parametrize("source", ["pairs.jsonl", "-"])
def test_score_takes_pairs(source: str, scorer: Path, call: Call, in_tmp_path: Path) -> None:
    lines = "".join(json.dumps({"query": a, "document": b}) + "\n" for a, b in zip(TEXTS, TEXTS[::-1], strict=True))
    Path("pairs.jsonl").write_text(lines, "utf-8")
    expected = [item.outputs.score for item in LLM(scorer).score(TEXTS, TEXTS[::-1], use_tqdm=False)]
    found = records(call("score", scorer, "--input", source, stdin=lines.encode()))
    assert [record["score"] for record in found] == expected


# ---------------------------------------------------------------------------------------------- options


def test_raw_leaves_out_the_last_function(classifier: Path, minilm_bundle: Path, call: Call) -> None:
    raw = PoolingParams(use_activation=False)
    (expected,) = LLM(classifier).classify(TEXTS[0], pooling_params=raw)
    (found,) = records(call("classify", classifier, "--raw", TEXTS[0]))
    assert found["probs"] == expected.outputs.probs
    assert sum(found["probs"]) != pytest.approx(1)
    (found,) = records(call("embed", minilm_bundle, "--raw", TEXTS[0]))
    assert np.linalg.norm(found["embedding"]) != pytest.approx(1)


def test_truncate_cuts_at_the_limit_of_the_model(classifier: Path, call: Call) -> None:
    long = "word " * 400
    refused = call("classify", classifier, long)
    assert refused.code == 1
    assert "128" in refused.error()
    (expected,) = LLM(classifier).classify(long, truncate_prompt_tokens=-1)
    (found,) = records(call("classify", classifier, long, "--truncate"))
    assert found["probs"] == expected.outputs.probs


def test_dimensions_shorten_the_vectors_of_a_matryoshka_model(matryoshka: Path, call: Call) -> None:
    (expected,) = LLM(matryoshka).embed(TEXTS[0], pooling_params=PoolingParams(dimensions=64))
    (found,) = records(call("embed", matryoshka, "--dimensions", 64, TEXTS[0]))
    assert found["embedding"] == expected.outputs.embedding
    assert len(found["embedding"]) == 64


def test_dimensions_are_those_the_model_was_trained_for(matryoshka: Path, minilm_bundle: Path, call: Call) -> None:
    other = call("embed", matryoshka, "--dimensions", 65, TEXTS[0])
    assert other.code == 1
    assert other.error() == (
        'Model "model" only supports [64, 128] matryoshka dimensions, '
        "use other output dimensions will lead to poor results. Got dimensions=65."
    )
    none = call("embed", minilm_bundle, "--dimensions", 64, TEXTS[0])
    assert none.code == 1
    assert none.error() == (
        'Model "model" does not support matryoshka representation, '
        "changing output dimensions will lead to poor results."
    )


# ---------------------------------------------------------------------------------------------- output


def test_files_hold_what_stdout_shows(classifier: Path, call: Call, in_tmp_path: Path) -> None:
    shown = records(call("classify", classifier, *TEXTS))
    assert call("classify", classifier, *TEXTS, "--output", "out.jsonl") == Result(
        0, "", "3 result(s) written to out.jsonl\n"
    )
    assert [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()] == shown
    assert call("classify", classifier, *TEXTS, "-o", "out.npy").code == 0
    assert np.load("out.npy").tolist() == [record["probs"] for record in shown]


def test_scores_in_a_npy_file_are_one_number_a_document(scorer: Path, call: Call, in_tmp_path: Path) -> None:
    shown = records(call("score", scorer, *TEXTS))
    assert call("score", scorer, *TEXTS, "--output", "out.npy").code == 0
    found = np.load("out.npy")
    assert (found.shape, found.dtype) == ((2,), np.float32)
    assert found.tolist() == [record["score"] for record in shown]


@pytest.mark.torch
def test_ragged_rewards_do_not_fit_a_npy_file(rewarder: Path, call: Call, in_tmp_path: Path) -> None:
    result = call("reward", rewarder, *TEXTS, "--output", "out.npy")
    assert result.code == 2
    assert result.error() == "rows differ in length, .npy cannot hold them; use --output NAME.jsonl"
    assert os.listdir() == []
    assert call("reward", rewarder, TEXTS[0], "--output", "out.npy").code == 0
    assert np.load("out.npy").ndim == 3


def test_a_terminal_gets_a_table_unless_json_is_asked_for(
    classifier: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    piped = call("classify", classifier, *TEXTS)
    assert call("classify", classifier, *TEXTS, "--json", tty=True) == piped
    head, rule, *rows = call("classify", classifier, *TEXTS, tty=True).out.rstrip().splitlines()
    assert head.split() == ["text", "probabilities"]
    assert set(rule) == {"─"}
    for text, row, record in zip(TEXTS, rows, records(piped), strict=True):
        assert row.startswith(text)
        best = f"{record['label']} {max(record['probs']):.4f}"
        assert row.removeprefix(text).strip().startswith(best), "best label first"


def test_a_table_of_scores_is_ranked(minilm_bundle: Path, call: Call) -> None:
    documents = ["Berlin is in Germany.", "Paris is the capital of France.", "I like cheese."]
    result = call("score", minilm_bundle, "What is the capital of France?", *documents, tty=True)
    rows = [line.split(maxsplit=1) for line in result.out.rstrip().splitlines()[2:]]
    assert [text for _, text in rows] == [documents[1], documents[0], documents[2]]
    assert [score for score, _ in rows] == sorted((score for score, _ in rows), reverse=True)


def test_a_table_of_pairs_keeps_their_order(minilm_bundle: Path, call: Call, in_tmp_path: Path) -> None:
    documents = ["I like cheese.", "Paris is the capital of France.", "Berlin is in Germany."]
    lines = [json.dumps({"query": "What is the capital of France?", "document": text}) for text in documents]
    Path("pairs.jsonl").write_text("\n".join(lines))
    result = call("score", minilm_bundle, "--input", "pairs.jsonl", tty=True)
    assert [line.split(maxsplit=1)[1] for line in result.out.rstrip().splitlines()[2:]] == documents


@pytest.mark.torch
def test_a_table_of_rewards_shows_the_last_row(rewarder: Path, call: Call) -> None:
    (record,) = records(call("reward", rewarder, TEXTS[0]))
    row = call("reward", rewarder, TEXTS[0], tty=True).out.rstrip().splitlines()[-1]
    last = "  ".join(f"{value:+.4f}" for value in record["rewards"][-1][:4]) + "  …"
    assert row == f"{TEXTS[0]}   {len(record['rewards'])} × 5{' ' * 9}{last}"


def test_a_reader_that_leaves_ends_it_quietly(classifier: Path) -> None:
    """`| head -1`: the pipe closes while most results are still to come."""
    words = ["classify", str(classifier), "--input", "-"]
    process = subprocess.Popen(
        [*COMMAND, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"a text\n" * 3000)
    process.stdin.close()
    assert json.loads(process.stdout.readline())["index"] == 0
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_a_checkpoint_is_said_to_be_exported_first(
    tmp_path: Path, classifier: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporters: list[object] = []

    def exported(model: str, *, reporter: object = None, **options: object) -> Path:
        if reporter is not None:  # else the bundle is being opened
            reporters.append(reporter)
            print("a library's chatter")
        return classifier

    monkeypatch.setattr("pool_export.runtime.autoexport.bundle_for", exported)
    result = call("classify", tmp_path, TEXTS[0])
    assert result.steps() == [f"{tmp_path} is not a bundle: taking its export from the cache, or making it …"]
    assert result.out == call("classify", classifier, TEXTS[0]).out
    assert [type(item).__name__ for item in reporters] == ["StepReporter"], "the exporter shows its steps"


@pytest.mark.torch
def test_embed_of_a_sparse_bundle_prints_tokens_and_weights(
    tiny_bundle: Callable[..., Path], call: Call, tmp_path: Path
) -> None:
    bundle = tiny_bundle("bert", "masked_lm", export={"pooler_config": {"pooling_type": "SPLADE"}}, layers=1)
    expected = [item.outputs for item in LLM(bundle).embed_sparse(TEXTS, use_tqdm=False)]
    found = records(call("embed", bundle, *TEXTS))
    assert [set(row) for row in found] == [{"index", "indices", "values", "tokens"}] * len(TEXTS)
    for row, one in zip(found, expected, strict=True):
        assert row["indices"] == one.indices.tolist()
        assert row["values"] == pytest.approx(one.values.tolist())
        assert row["tokens"] == list(one.tokens)
    refused = call("embed", bundle, TEXTS[0], "-o", tmp_path / "vectors.npy")
    assert refused.code != 0
    assert ".jsonl" in refused.err


def test_sparse_vectors_are_asked_of_a_model_that_has_them(minilm_bundle: Path, call: Call) -> None:
    refused = call("embed", minilm_bundle, "--sparse", TEXTS[0])
    assert refused.code != 0
    assert "has no sparse vectors" in refused.err


def test_a_checkpoint_of_a_wrong_option_is_not_exported(tmp_path: Path, call: Call) -> None:
    assert "threads" in call("embed", tmp_path, "a", "--threads", "-1").err


@pytest.mark.torch
def test_token_classification_is_a_row_a_token(tiny_bundle: Callable[..., Path], call: Call) -> None:
    bundle = tiny_bundle("bert", "token_5")
    llm = LLM(bundle)
    outputs = llm.encode(TEXTS, pooling_task="token_classify", use_tqdm=False)
    found = records(call("classify", bundle, *TEXTS))
    for record, item in zip(found, outputs, strict=True):
        assert record["probs"] == item.outputs.data.tolist()
        assert record["labels"] == [llm.spec.labels[int(row.argmax())] for row in item.outputs.data]
        assert record["tokens"][0] == "[CLS]"
        assert record["tokens"][-1] == "[SEP]"
        assert len(record["tokens"]) == len(item.prompt_token_ids)
    head, _, *rows = call("classify", bundle, TEXTS[0], tty=True).out.rstrip().splitlines()
    assert head.split() == ["text", "token", "label", "probability"]
    first = found[0]
    assert rows[0].split() == ["0", "[CLS]", first["labels"][0], f"{max(first['probs'][0]):.4f}"]
    assert len(rows) == len(first["tokens"])


def test_prompts_and_sizes_on_the_command_line(minilm_bundle: Path, call: Call, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(minilm_bundle, tmp_path / "bundle"))
    edit_manifest(
        bundle,
        tokenizer={"prompts": {"q": "query: "}},
        pooling={"is_matryoshka": True, "matryoshka_dimensions": [64, 128]},
    )
    plain = records(call("embed", minilm_bundle, "query: cats", "title: cats"))
    assert records(call("embed", bundle, "cats", "--prompt-name", "q"))[0]["embedding"] == pytest.approx(
        plain[0]["embedding"], abs=1e-6
    )
    assert records(call("embed", bundle, "cats", "--prompt", "title: "))[0]["embedding"] == pytest.approx(
        plain[1]["embedding"], abs=1e-6
    )
    assert len(records(call("embed", bundle, "cats", "--dimensions", "64"))[0]["embedding"]) == 64
    assert (
        call("embed", bundle, "cats", "--dimensions", "65")
        .error()
        .endswith(
            "only supports [64, 128] matryoshka dimensions, use other output dimensions will lead to poor results. "
            "Got dimensions=65."
        )
    )
    assert "prompt_name 'p' is not one of ['q']" in call("embed", bundle, "cats", "--prompt-name", "p").error()
    one = records(call("score", bundle, "cats", "dogs", "--query-prompt-name", "q"))[0]["score"]
    other = records(call("score", bundle, "cats", "dogs", "--document-prompt-name", "q"))[0]["score"]
    assert one == pytest.approx(records(call("score", minilm_bundle, "query: cats", "dogs"))[0]["score"], abs=1e-6)
    assert other == pytest.approx(records(call("score", minilm_bundle, "cats", "query: dogs"))[0]["score"], abs=1e-6)


def test_a_score_template_on_the_command_line(scorer: Path, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("{{ instruction }} {{ messages[0].content }} then {{ messages[1].content }}")
    asked = ("score", scorer, "cats", "dogs", "--chat-template", path)
    (wanted,) = LLM(scorer).classify("Compare: cats then dogs")
    found = records(call(*asked, "--instruction", "Compare:"))[0]["score"]
    assert found == pytest.approx(wanted.outputs.probs[0], abs=1e-6)
    assert "this model has no score template" in call("score", scorer, "a", "b", "--instruction", "x").error()
    assert "reads no 'instruction'" in call(
        "score", scorer, "a", "b", "--chat-template", "nemotron_rerank", "--instruction", "x"
    ).error()  # fmt: skip
    path.write_text("{% if")
    assert "not valid jinja" in call(*asked).error()
    assert "nor is there such a file" in call(*asked[:-1], tmp_path / "none.jinja").error()
