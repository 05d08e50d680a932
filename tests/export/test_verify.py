"""The parity gate: what it lets through, what it stops, and whether its figures are right."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from tokenizers import Tokenizer

from pool_export.export import pipeline, verify
from pool_export.export.adapters import adapt
from pool_export.export.errors import ExportError, ParityError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.export.samples import Sample
from pool_export.models_zoo.st_files import write_modules
from pool_export.models_zoo.tiny import write_tiny
from pool_export.poolers import heads, methods, pooler
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.tokens import Encoded

# -------------------------------------------------------------------------------------------------- planted faults


def first_token(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[:, 0]


def mean_of_all(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.mean(dim=1)


def sum_of_all(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (hidden * mask.unsqueeze(-1)).sum(dim=1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A sentence-transformers chain on a backbone without a single layer: tracing it takes a second."""
    folder = write_tiny(tmp_path / "model", "bert", layers=0)
    return write_modules(folder, pooling="mean", dense=[(32, 32, "tanh")])


def refused(checkpoint: Path, leftovers: Callable[[], list[str]], **options: Any) -> str:
    """Export, expect the gate to stop it and nothing to stay, and return its message."""
    before = leftovers()
    with pytest.raises(ParityError) as caught:
        export_model(ExportRequest(model=str(checkpoint), output=checkpoint.with_name("bundle"), **options))
    assert leftovers() == before
    return str(caught.value)


@pytest.mark.parametrize("wrong", [first_token, mean_of_all, sum_of_all], ids=lambda function: function.__name__)
def test_a_wrong_pooling_is_stopped(
    checkpoint: Path, leftovers: Any, monkeypatch: pytest.MonkeyPatch, wrong: methods.Method
):
    monkeypatch.setitem(methods.METHODS, "MEAN", wrong)
    message = refused(checkpoint, leftovers)
    assert "disagrees with the reference" in message
    assert "--allow-mismatch" in message


def test_a_wrong_scale_that_normalising_hides_is_stopped(
    tmp_path: Path, leftovers: Any, monkeypatch: pytest.MonkeyPatch
):
    folder = write_modules(write_tiny(tmp_path / "model", "bert", layers=0), pooling="mean")
    monkeypatch.setitem(methods.METHODS, "MEAN", sum_of_all)
    assert "unnormalized_embedding" in refused(folder, leftovers)


def test_a_dense_layer_that_is_skipped_is_stopped(checkpoint: Path, leftovers: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pooler.Pooler, "_project", lambda self, vectors: vectors)
    assert "sentence_embedding" in refused(checkpoint, leftovers)


def test_a_wrong_dense_activation_is_stopped(checkpoint: Path, leftovers: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(heads.DENSE_FUNCTIONS, "tanh", torch.sigmoid)
    assert "sentence_embedding" in refused(checkpoint, leftovers)


def test_a_wrong_class_activation_is_stopped(tmp_path: Path, leftovers: Any, monkeypatch: pytest.MonkeyPatch):
    folder = write_tiny(tmp_path / "model", "bert", "sequence_3", layers=0)
    monkeypatch.setitem(heads.ACTIVATION_FUNCTIONS, "softmax", torch.sigmoid)
    message = refused(folder, leftovers)
    assert "probs" in message
    assert "logits" not in message


def test_logits_pooled_where_their_states_should_not_be_are_stopped(
    tmp_path: Path, leftovers: Any, monkeypatch: pytest.MonkeyPatch
):
    folder = write_tiny(tmp_path / "model", "eurobert", "sequence_3", layers=0, classifier_pooling="late")

    def adapt_wrongly(source: Any, model: Any, spec: Any) -> Any:
        return adapt(source, model, dataclasses.replace(spec, pools_logits=False))

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "adapt", adapt_wrongly)
        assert "logits" in refused(folder, leftovers)
    result = export_model(ExportRequest(model=str(folder), output=tmp_path / "bundle"))
    assert result.manifest.pooling.pools_logits
    assert result.report["passed"]


def test_a_wrong_graph_is_written_when_asked_and_says_so(
    small_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(methods.METHODS, "CLS", mean_of_all)
    output = tmp_path / "bundle"
    result = export_model(ExportRequest(model=str(small_bert), output=output, allow_mismatch=True))
    parity = json.loads((output / "pool_export.json").read_text())["graphs"]["fp32"]["parity"]
    assert parity["passed"] is result.report["passed"] is False
    assert any("sentence_embedding" in failure for failure in parity["failures"])
    assert "| alone | sentence_embedding |" in (output / "README.md").read_text()


@pytest.mark.parametrize("allow", [False, True])
def test_a_graph_that_answers_nan_is_stopped_whatever_is_allowed(
    small_bert: Path, tmp_path: Path, leftovers: Any, trace_once: None, monkeypatch: pytest.MonkeyPatch, allow: bool
):
    remembered = pipeline.trace

    def damaged(*args: Any, **options: Any) -> ir.Model:
        program = remembered(*args, **options).clone()
        weight = next(value for name, value in program.graph.initializers.items() if "word_embeddings" in name)
        weight.const_value = ir.tensor(np.full(weight.const_value.shape, np.nan, np.float32), name=weight.name)
        return program

    monkeypatch.setattr(pipeline, "trace", damaged)
    before = leftovers()
    with pytest.raises(ParityError, match="is not finite"):
        export_model(ExportRequest(model=str(small_bert), output=tmp_path / "bundle", allow_mismatch=allow))
    assert leftovers() == before


def test_a_model_that_answers_nan_itself_is_named_as_the_culprit(tmp_path: Path, leftovers: Any):
    folder = write_tiny(tmp_path / "model", "bert", layers=0, layer_norm_eps=float("nan"))
    assert "the model itself answers NaN" in refused(folder, leftovers)


def test_a_tokenizer_file_with_other_ids_is_stopped(
    small_bert: Path, tmp_path: Path, leftovers: Any, trace_once: None, monkeypatch: pytest.MonkeyPatch
):
    write = pipeline.write_tokenizer

    def lossy(folder: Path, *args: Any) -> None:
        write(folder, *args)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.normalizer = None  # upper case is unknown from now on
        tokenizer.save(str(folder / "tokenizer.json"))

    monkeypatch.setattr(pipeline, "write_tokenizer", lossy)
    before = leftovers()
    with pytest.raises(ExportError, match=r"gives other input_ids than .* expected"):
        export_model(ExportRequest(model=str(small_bert), output=tmp_path / "bundle"))
    assert leftovers() == before


# ----------------------------------------------------------------------------------- the figures, on hand-made cases


class HandMade:
    """An engine of a few lines: each text's answer is what the test says, whatever is around it."""

    def __init__(self, answers: dict[tuple[int, ...], np.ndarray], empty: float = 0.0, name: str = "logits") -> None:
        self.answers, self.empty, self.name = answers, empty, name
        self.token_level: frozenset[str] = frozenset()
        self.tokenizer = types.SimpleNamespace(max_length=32, policy=types.SimpleNamespace(pad_token_id=0))
        self.session = types.SimpleNamespace(output_names=(name,), precision="fp32", run=self.run_batch)
        self.batches: list[np.ndarray] = []

    def run(self, inputs: list[Encoded], names: list[str]) -> list[dict[str, np.ndarray]]:
        return [{self.name: self.answers[tuple(item.ids)]} for item in inputs]

    def run_batch(self, feeds: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        self.batches.append(mask)
        width = len(next(iter(self.answers.values())))
        empty = np.full(width, self.empty)
        rows = [tuple(row[kept == 1].tolist()) for row, kept in zip(ids, mask, strict=True)]
        return {self.name: np.stack([self.answers.get(row, empty) for row in rows])}


def _verify(wanted: list[list[float]], found: list[list[float]], **options: Any) -> tuple[dict[str, Any], HandMade]:
    ids = [(7,) * (index + 1) for index in range(len(wanted))]
    samples = [Sample(Prompt(token_ids=row), Encoded(list(row), [0] * len(row))) for row in ids]
    engine = HandMade(dict(zip(ids, map(np.array, found), strict=True)), **options)
    expected = dict(zip(ids, map(np.array, wanted), strict=True))
    reference = types.SimpleNamespace(outputs=lambda row, types, **others: {"logits": expected[tuple(row)]})
    report, answers = verify.verify(reference, engine, samples)  # type: ignore[arg-type]
    assert [row["logits"].tolist() for row in answers] == wanted
    return report, engine


def test_equal_answers_pass_with_clean_figures():
    report, _ = _verify([[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 2.0]])
    assert report["passed"]
    assert report["failures"] == []
    figures = {"max_abs": 0.0, "min_cosine": 1.0, "mean_cosine": 1.0, "p01_cosine": 1.0}
    assert report["cases"] == {case: {"logits": figures} for case in ("alone", "batched", "padded")}
    assert (report["samples"], report["longest_tokens"], report["batch_invariance"]) == (2, 2, 0.0)
    assert report["bars"] == {"max_abs": 1e-4, "min_cosine": 0.99999, "mean_cosine": None}


def test_max_abs_is_absolute_below_one_and_relative_above():
    report, _ = _verify([[0.5, 0.5], [100.0, 1.0]], [[0.5, 0.50003], [100.002, 1.0]])
    assert report["cases"]["alone"]["logits"]["max_abs"] == pytest.approx(3e-5)
    assert report["passed"]
    report, _ = _verify([[100.0, 1.0]], [[100.0, 1.001]])
    assert report["cases"]["alone"]["logits"]["max_abs"] == pytest.approx(1e-3)
    assert not report["passed"]


def test_cosines_are_those_of_the_rows():
    report, _ = _verify([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]])
    figures = report["cases"]["alone"]["logits"]
    assert figures["min_cosine"] == pytest.approx(2**-0.5)
    assert figures["p01_cosine"] == pytest.approx(2**-0.5 + 0.01 * (1 - 2**-0.5))
    assert not report["passed"]
    assert len(report["failures"]) == 3, "one a case"


def test_one_number_is_judged_by_its_value_not_by_its_sign():
    report, _ = _verify([[1e-6], [0.5]], [[-1e-6], [0.5]])
    assert report["passed"]
    report, _ = _verify([[0.2], [0.5]], [[0.3], [0.5]])
    assert "max-abs 1.00e-01 > 1e-04" in report["failures"][0]


def test_an_empty_row_that_is_nan_fails():
    report, _ = _verify([[1.0, 0.0]], [[1.0, 0.0]], empty=np.nan)
    assert report["failures"] == ["a fully padded row is not finite"]


def test_another_shape_cannot_be_compared():
    with pytest.raises(ParityError, match=r"logits has shape \(1,\) for one text, expected \(2,\)"):
        _verify([[1.0, 0.0]], [[1.0]])


def test_every_padding_is_tried_on_both_sides():
    _, engine = _verify([[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 2.0]])
    *batches, _ = engine.batches
    # 64 more than the longest text is beyond this model's 32 tokens.
    assert [batch.shape[1] for batch in batches] == [2, 9, 32] * 2
    assert [batch[0].tolist() for batch in batches[1::3]] == [[1, *[0] * 8], [*[0] * 8, 1]]


@pytest.mark.parametrize("precision", verify.BARS)
def test_bars_are_data_and_each_precision_meets_or_misses_its_own(precision: Any):
    bars = verify.BARS[precision]
    for cosine in (bars.min_cosine, bars.min_cosine - 1e-6):
        figure = {"max_abs": 0.0, "min_cosine": cosine, "mean_cosine": 1.0, "p01_cosine": 1.0}
        report: dict[str, Any] = {"cases": {"alone": {"logits": figure}}, "empty_row_finite": True}
        verify.judge(report, bars)
        assert report["passed"] is (cosine >= bars.min_cosine)


def test_a_mean_has_a_bar_of_its_own():
    bars = verify.BARS["int8"]
    for mean in (bars.mean_cosine, bars.mean_cosine - 1e-6):
        figure = {"max_abs": 0.0, "min_cosine": 0.99, "mean_cosine": mean, "p01_cosine": 1.0}
        report: dict[str, Any] = {"cases": {"alone": {"logits": figure}}, "empty_row_finite": True}
        verify.judge(report, bars)
        assert report["passed"] is (mean >= bars.mean_cosine)


def test_rank_agreement_counts_shared_neighbours():
    rng = np.random.default_rng(0)
    rows = [{"v": row} for row in rng.standard_normal((24, 4))]
    assert verify._neighbour_overlap("v", rows, rows) == 1.0
    assert verify._neighbour_overlap("v", rows, rows[::-1]) < 0.9
    assert verify._neighbour_overlap("v", rows[:5], rows[5:10]) == 1.0, "too few texts to have ten neighbours"


def test_a_bundle_that_passed_says_so_in_its_manifest(tiny_bundle: Any):
    manifest = open_bundle(tiny_bundle("bert", layers=1)).manifest
    parity = manifest.graphs["fp32"].parity
    assert parity["passed"] is True
    assert set(parity["cases"]) == {"alone", "batched", "padded"}
    compared = {"sentence_embedding", "last_hidden_state", "unnormalized_embedding"}
    assert all(set(figures) == compared for figures in parity["cases"].values())
    assert parity["samples"] >= 50
    assert parity["longest_tokens"] == manifest.tokenizer.max_length == 128
    assert parity["batch_invariance"] <= 2e-6
    assert parity["neighbour_overlap"] > 0.99
