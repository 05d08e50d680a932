"""What the exporter's tests share: opened bundles, and answers computed by transformers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
import transformers

from pool_export import LLM
from pool_export.export import pipeline
from pool_export.export.adapters import AdaptedModel, adapt
from pool_export.export.language_head import with_row_ids
from pool_export.export.load import load_model, load_tokenizer
from pool_export.export.request import ExportRequest
from pool_export.export.source import open_source
from pool_export.export.trace import trace
from pool_export.models_zoo.tiny import class_name
from pool_export.poolers.resolve import resolve


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models run several times faster on one thread, above all beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def open_llm() -> Callable[[Path], LLM]:
    """Return `open_llm(bundle)`: the runtime, opened once a bundle."""
    opened: dict[Path, LLM] = {}

    def open_bundle(folder: Path) -> LLM:
        if folder not in opened:
            opened[folder] = LLM(folder, threads=1)
        return opened[folder]

    return open_bundle


class Oracle:
    """transformers on one unpadded text at a time: no batch, no padding, no code of ours."""

    def __init__(self, folder: Path, name: str) -> None:
        self.model = getattr(transformers, name).from_pretrained(folder).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def tokens(self, text: str, pair: str | None = None) -> dict[str, list[int]]:
        """Token ids and whatever else the tokenizer says this model takes, truncated to its limit."""
        row = self.tokenizer(text, pair, truncation="longest_first", max_length=self.tokenizer.model_max_length)
        return {key: list(value) for key, value in row.items()}

    def _run(self, model: torch.nn.Module, tokens: dict[str, list[int]]) -> transformers.utils.ModelOutput:
        with torch.inference_mode():
            return model(**{key: torch.tensor([value]) for key, value in tokens.items()})

    def states(self, tokens: dict[str, list[int]]) -> np.ndarray:
        """The backbone's last hidden states, `[num_tokens, hidden]`."""
        return self._run(self.model.base_model, tokens).last_hidden_state[0].numpy()

    def logits(self, tokens: dict[str, list[int]]) -> np.ndarray:
        """What the class's own forward answers, `[num_labels]` or `[num_tokens, num_labels]`."""
        return self._run(self.model, tokens).logits[0].numpy()

    def score(self, vectors: np.ndarray) -> np.ndarray:
        """A decoder's `score` layer."""
        with torch.inference_mode():
            return self.model.score(torch.from_numpy(vectors)).numpy()


@pytest.fixture(scope="session")
def oracle(tiny_folder: Callable[..., Path]) -> Callable[..., Oracle]:
    """Return `oracle(family, head="base", **options)` of a tiny checkpoint, loaded once."""
    made: dict[tuple, Oracle] = {}

    def make(family: str, head: str = "base", **options: object) -> Oracle:
        key = (family, head, *sorted(options.items()))
        if key not in made:
            made[key] = Oracle(tiny_folder(family, head, **options), class_name(family, head))
        return made[key]

    return make


@pytest.fixture(scope="session")
def gap() -> Callable[[Sequence[float] | np.ndarray, np.ndarray], float]:
    """Return `gap(found, wanted)`."""
    return _gap


def _gap(found: Sequence[float] | np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference; relative to the answer's magnitude where that is above 1."""
    found = np.asarray(found, np.float64)
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))


class Adapted:
    """A checkpoint as the exporter composes it, before any tracing: milliseconds instead of seconds."""

    def __init__(self, request: ExportRequest) -> None:
        self.source = open_source(request)
        self.spec = resolve(
            self.source.files,
            convert=request.convert,
            runner=request.runner,
            pooler_config=request.user_pooler(),
        )
        self.tokenizer = load_tokenizer(self.source, request)
        self.spec = with_row_ids(self.spec, self.tokenizer)
        self.model = load_model(self.source, request, self.spec)
        self.module = adapt(self.source, self.model, self.spec)

    def batch(self, texts: Sequence[str], side: str = "right") -> dict[str, torch.Tensor]:
        """Tokenize texts into one batch, padded on a side, as the graph takes it."""
        rows = self.tokenizer(list(texts), padding=True, truncation=True, padding_side=side, return_tensors="pt")
        return {name: rows.get(name, torch.zeros_like(rows["input_ids"])) for name in self.module.input_names}

    def run(self, texts: Sequence[str], side: str = "right") -> dict[str, np.ndarray]:
        """Every output for a batch of texts."""
        with torch.inference_mode():
            return {name: value.numpy() for name, value in self.module(**self.batch(texts, side)).items()}


@pytest.fixture(scope="session")
def adapted() -> Callable[..., Adapted]:
    """Return `adapted(folder, **options)`: backbone and head of a checkpoint, composed and not traced."""
    return lambda folder, **options: Adapted(ExportRequest(model=str(folder), **options))


_PROGRAMS: dict[tuple, ir.Model] = {}


@pytest.fixture
def trace_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let exports of the same model share one trace: what a test checks here comes after it."""

    def remembered(model: AdaptedModel, *, max_length: int, opset: int) -> ir.Model:
        key = (model.config.to_json_string(), repr(model.pooler.spec), max_length, opset)
        if key not in _PROGRAMS:
            _PROGRAMS[key] = trace(model, max_length=max_length, opset=opset)
        return _PROGRAMS[key]

    monkeypatch.setattr(pipeline, "trace", remembered)


@pytest.fixture(scope="session")
def small_bert(tiny_folder: Callable[..., Path]) -> Path:
    """A one-layer BERT without a head: the cheapest checkpoint to export."""
    return tiny_folder("bert", layers=1)


@pytest.fixture
def leftovers(tmp_path: Path) -> Callable[[], list[str]]:
    """Return `leftovers()`: everything in the test's folder, hidden files included."""
    return lambda: sorted(path.name for path in tmp_path.iterdir())
