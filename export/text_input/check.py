"""Hold the text part to the Hugging Face tokenizer, string by string, and to the bundle's golden vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from transformers import PreTrainedTokenizerBase

from ...models_zoo.fuzz_texts import fuzz_texts
from ...runtime.backends.providers import load_onnxruntime
from ...runtime.bars import BARS
from ...runtime.errors import MissingExtraError, first_line
from ...runtime.golden import Golden
from ...runtime.replay import compare
from ..errors import ExportError, ParityError
from ..quiet import quiet
from ..tokenizer_check import around
from .compose import INPUT, TextPart

_SHOWN = 3
_FLOOR = 5_000  # a corpus that shrank would prove less than the manifest says


class TextSession:
    """A graph with a text part, opened with the operators it needs."""

    def __init__(self, model: bytes | str) -> None:
        """Open a serialised graph, or a file.

        Raises:
            MissingExtraError: onnxruntime-extensions is not installed.
            ExportError: the operators refuse the tokenizer.
        """
        try:
            from onnxruntime_extensions import get_library_path
        except ImportError as error:
            raise MissingExtraError(
                "onnxruntime-extensions", "text-input", "--text-input puts its operators in"
            ) from error
        runtime = load_onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.register_custom_ops_library(get_library_path())
        try:
            self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ExportError(
                f"--text-input: onnxruntime-extensions cannot load this tokenizer ({first_line(error)}); "
                "export without it"
            ) from error

    def run(self, text: str, names: Sequence[str] | None = None) -> list[np.ndarray]:
        """Answer one text."""
        found: list[np.ndarray] = self._session.run(names, {INPUT: np.array([text], dtype=object)})
        return found


def check_tokens(reference: PreTrainedTokenizerBase, part: TextPart, program: ir.Model) -> dict[str, Any]:
    """Compare token ids on the whole corpus.

    Returns:
        ``strings``: how many were compared.

    Raises:
        ParityError: a string whose ids differ; the message has counts by class and a few of them.
        ExportError: the operators refuse the tokenizer.
    """
    with quiet():
        session = TextSession(ir.to_proto(program).SerializeToString())
    specials = sorted({token.content for token in reference.added_tokens_decoder.values() if token.special})
    compared, differing, shown = 0, Counter[str](), list[str]()
    corpus = fuzz_texts(specials)
    for name, text, want in _expected(reference, corpus, part.max_length):
        compared += 1
        if difference := _difference(session, text, want):
            differing[name] += 1
            if len(shown) < _SHOWN:
                shown.append(f"{text[:40]!r} {difference}")
    if differing:
        classes = ", ".join(f"{name} {count} of {len(corpus[name])}" for name, count in differing.most_common())
        raise ParityError(
            f"--text-input: the graph's tokenizer differs from {type(reference).__name__} on {differing.total()} of "
            f"{compared} strings ({classes}): {'; '.join(shown)}. Nothing was written; export without --text-input"
        )
    if compared < _FLOOR:
        raise ParityError(
            f"--text-input: only {compared} strings could be compared, expected {_FLOOR}; nothing was written"
        )
    return {"strings": compared}


def _difference(session: TextSession, text: str, want: list[int]) -> str:
    """How the graph's ids for a text differ; empty where they do not."""
    try:
        found: list[int] = session.run(text)[0][0].tolist()
    except Exception as error:  # noqa: BLE001  (whatever an operator raises, it is an answer that differs)
        return f"fails ({first_line(error)}), expected {want[:8]}"
    return around(found, want) if found != want else ""


def _expected(
    reference: PreTrainedTokenizerBase, corpus: dict[str, tuple[str, ...]], limit: int
) -> Iterator[tuple[str, str, list[int]]]:
    reference = getattr(reference, "original", reference)  # a class that had to be converted
    for name, texts in corpus.items():
        with quiet():
            rows = reference(list(texts), truncation=True, max_length=limit)["input_ids"]
        # A text without tokens is refused by the runtime as well.
        yield from ((name, text, list(row)) for text, row in zip(texts, rows, strict=True) if row)


def check_vectors(path: Path, golden: Golden, names: Sequence[str]) -> dict[str, Any]:
    """Replay the golden texts through the whole graph.

    Returns:
        ``golden`` texts that were replayed, the largest difference and the least cosine.

    Raises:
        ParityError: an answer that misses the bars of float32.
    """
    session, bars = TextSession(str(path)), BARS["fp32"]
    replayed, gaps, cosines = 0, [0.0], [1.0]
    for case in golden.cases:
        if case.pair is not None:
            continue
        stated = [name for name in case.outputs if name in names]
        for name, value in zip(stated, session.run(case.text, stated), strict=True):
            figures = compare(case.outputs[name], value[0])
            gaps.append(figures.max_abs)
            cosines.append(figures.cosine)
        replayed += 1
    if not replayed or max(gaps) > (bars.max_abs or 0.0) or min(cosines) < bars.min_cosine:
        raise ParityError(
            f"--text-input: the text graph differs from the reference by {max(gaps):.1e} (cosine {min(cosines):.6f}) "
            f"on {replayed} golden texts; nothing was written"
        )
    return {"golden": replayed, "max_abs": max(gaps), "min_cosine": min(cosines)}
