"""A reranker with a score template: the template is in the bundle, the gate and golden.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export import LLM
from pool_export.export.cache import _fingerprint
from pool_export.export.errors import ExportError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.templates import score_template
from pool_export.models_zoo.texts import pairs
from pool_export.poolers.errors import ConfigError
from pool_export.runtime.golden import read_golden
from pool_export.runtime.replay import replay

SHORT = "A: {{ messages[0].content }}\nB: {{ messages[1].content }}\n{{ instruction or 'Yes or No?' }}"


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[..., Path]) -> LLM:
    folder = tmp_path_factory.mktemp("reranker")
    (folder / "mine.jinja").write_text(SHORT, "utf-8")
    checkpoint = tiny_folder("qwen3", "sequence_1", layers=1)
    result = export_model(
        ExportRequest(model=str(checkpoint), output=folder / "bundle", score_template=str(folder / "mine.jinja"))
    )
    assert result.notes == ()
    return LLM(folder / "bundle")


def test_a_pair_is_answered_as_the_text_the_template_makes(reranker: LLM):
    for query, document in pairs()[:3]:
        (found,) = reranker.score(query, document)
        (wanted,) = reranker.classify(f"A: {query}\nB: {document}\nYes or No?")
        assert found.prompt_token_ids == wanted.prompt_token_ids
        assert found.outputs.score == pytest.approx(wanted.outputs.probs[0], abs=1e-6)
    (other,) = reranker.score(query, document, instruction="Maybe?")
    assert other.prompt_token_ids == reranker.classify(f"A: {query}\nB: {document}\nMaybe?")[0].prompt_token_ids


def test_the_answer_is_transformers_own(reranker: LLM, oracle: Any):
    query, document = pairs()[0]
    torch_model = oracle("qwen3", "sequence_1", layers=1)
    tokens = torch_model.tokens(f"A: {query}\nB: {document}\nYes or No?")
    wanted = torch_model.score(torch_model.states(tokens)[-1:])[0]
    (found,) = reranker.score(query, document, pooling_params=None)
    assert found.prompt_token_ids == tokens["input_ids"]
    assert found.outputs.score == pytest.approx(1 / (1 + np.exp(-wanted[0])), abs=1e-5)


def test_the_golden_file_holds_rendered_pairs(reranker: LLM):
    rendered = [case for case in read_golden(reranker.engine.bundle).cases if case.rendered_from is not None]
    assert [case.rendered_from for case in rendered] == list(pairs()[:8])
    assert all(case.pair is None and case.text.startswith("A: ") for case in rendered)
    assert replay(reranker.engine).failures == []


def test_another_template_fails_the_replay(reranker: LLM, tmp_path: Path):
    import json
    import shutil

    copy = Path(shutil.copytree(reranker.engine.bundle.folder, tmp_path / "copy"))
    manifest = json.loads((copy / "pool_export.json").read_text())
    manifest["tokenizer"]["score_template"] = SHORT.replace("Yes", "No")
    (copy / "pool_export.json").write_text(json.dumps(manifest))
    failures = replay(LLM(copy).engine).failures
    assert len(failures) == 8
    assert all("the score template renders another text" in failure for failure in failures)


def test_an_over_long_document_is_shortened_and_the_question_stays(reranker: LLM):
    (found,) = reranker.score("short", "a long story. " * 200, truncate_prompt_tokens=-1)
    ending = reranker.classify("\nYes or No?")[0].prompt_token_ids[-4:]
    assert found.prompt_token_ids[-4:] == ending
    assert len(found.prompt_token_ids) <= reranker.engine.tokenizer.max_length


def test_a_template_longer_than_the_model_reads_is_refused(tmp_path: Path, tiny_folder: Callable[..., Path]):
    path = tmp_path / "long.jinja"
    path.write_text("word " * 300 + SHORT, "utf-8")
    request = ExportRequest(
        model=str(tiny_folder("qwen3", "sequence_1", layers=1)), output=tmp_path / "out", score_template=str(path)
    )
    with pytest.raises(ExportError, match=r"no pair of texts fits the score template: .* leave no room"):
        export_model(request)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("{% if", "not valid jinja"), ("no messages at all", "leaves out the query"), (None, "nor is there such a file")],
)
def test_a_bad_template_is_refused_before_any_work(tmp_path: Path, text: str | None, message: str):
    path = tmp_path / "bad.jinja"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        ExportRequest(model="no/such-model", score_template=str(path))


def test_a_changed_template_is_another_export(tmp_path: Path, tiny_folder: Callable[..., Path]):
    path, checkpoint = tmp_path / "mine.jinja", tiny_folder("qwen3", "sequence_1", layers=1)
    keys = set()
    for text in (SHORT, SHORT + "!", score_template("nemotron_rerank")):
        path.write_text(text)
        request = ExportRequest(model=str(checkpoint), score_template=str(path))
        keys.add(_fingerprint(checkpoint, "", request))
    assert len(keys) == 3
