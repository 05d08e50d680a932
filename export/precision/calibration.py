"""What a graph's inner values look like on real text: rows recorded from the float32 graph.

The texts are the zoo's, without those that the parity gate judges by (``samples.py``), so that its figures are of
texts that nothing was fitted to.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ...models_zoo.texts import hard_texts, pairs, paragraph, sentences, tokenizer_texts
from ...poolers.spec import PoolingSpec
from ...runtime.backends.providers import PROVIDERS, load_onnxruntime
from ...runtime.errors import InputError
from ...runtime.pairs import PairOptions, template_of, templated_prompt
from ...runtime.prompts import Prompt
from ...runtime.system import available_cpus
from ...runtime.templates import ScoreTemplate
from ...runtime.tokens import Encoded, TextTokenizer
from ..samples import PAIRS, SENTENCES
from ..write import save_graph

Array = np.ndarray

_LONGEST = 256  # tokens of a text
_JOINED = 12  # sentences of a long text
_EVERY = 24  # sentences between two long texts
_ROWS = 2048  # recorded of a value
_BYTES = 1 << 29  # of all values that are recorded in one pass over the texts


def calibration_inputs(tokenizer: TextTokenizer, spec: PoolingSpec) -> list[Encoded]:
    """Tokenize the calibration texts: single ones, long ones, and pairs where the model takes pairs."""
    judged = " ".join((*hard_texts(), paragraph()))
    single = [text for text in (*sentences()[SENTENCES:], *tokenizer_texts()) if text not in judged]
    long = [" ".join(single[start : start + _JOINED]) for start in range(0, len(single), _EVERY)]
    prompts = [Prompt(text=text) for text in single + long]
    chosen = template_of(tokenizer, PairOptions())
    limit = min(tokenizer.max_length, _LONGEST)
    if chosen is not None:
        prompts = prompts[: len(prompts) // 4] + list(_rendered(tokenizer, chosen, limit))
    elif spec.convert == "classify":
        prompts += [Prompt(text=query, pair=document) for query, document in pairs()[PAIRS:]]
    encoded = tokenizer.encode(prompts, [limit] * len(prompts))
    return [item for item in encoded if len(item)]


def _rendered(
    tokenizer: TextTokenizer, chosen: tuple[ScoreTemplate, Mapping[str, Any]], limit: int
) -> Iterator[Prompt]:
    """Pairs through the bundle's score template; those that do not fit are left out."""
    for query, document in pairs()[PAIRS:]:
        try:
            yield templated_prompt(query, document, tokenizer, *chosen, limit=limit)
        except InputError:
            continue


def record(program: ir.Model, values: Sequence[ir.Value], inputs: Sequence[Encoded]) -> dict[str, Array]:
    """Run the graph over the inputs, one text at a time, and keep rows of inner values.

    Args:
        program: the float32 graph; it is left as it was.
        values: float32 values of at least two axes, the last one of known size.
        inputs: the texts.

    Returns:
        Value name -> float32 ``[rows, size]``, at most some thousand rows of all texts alike.
    """
    found: dict[str, Array] = {}
    for part in _parts(values):
        found |= _record(program, part, inputs)
    return found


def _parts(values: Sequence[ir.Value]) -> Iterator[list[ir.Value]]:
    """Split the values so that the rows of each part fit in memory."""
    part: list[ir.Value] = []
    room = _BYTES
    for value in values:
        size = 4 * _ROWS * width(value)
        if part and size > room:
            yield part
            part, room = [], _BYTES
        part.append(value)
        room -= size
    if part:
        yield part


def width(value: ir.Value) -> int:
    """Size of the last axis."""
    last = value.shape[-1] if value.shape is not None and len(value.shape) else None
    if not isinstance(last, int):
        raise TypeError(f"{value.name} has shape {value.shape}, expected a last axis of known size")
    return last


def _record(program: ir.Model, values: Sequence[ir.Value], inputs: Sequence[Encoded]) -> dict[str, Array]:
    names = [str(value.name) for value in values]
    share = min(1.0, _ROWS / max(1, sum(map(len, inputs))))
    generator = np.random.default_rng(0)
    rows: dict[str, list[Array]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="pool-export-") as folder:
        run = opened(program, values, Path(folder))
        for item in inputs:
            for name, answer in zip(names, run(names, feeds_of(program, item)), strict=True):
                every = answer.reshape(-1, answer.shape[-1])
                kept = generator.random(len(every)) < share
                kept[generator.integers(len(every))] = True
                rows[name].append(every[kept])
    return {name: np.concatenate(part) for name, part in rows.items()}


def opened(program: ir.Model, values: Sequence[ir.Value], folder: Path) -> Any:
    """Open the graph with other outputs; returns a function of output names and feeds."""
    path = folder / "recorded.onnx"
    with other_outputs(program, values):
        save_graph(program, path)
    options = load_onnxruntime().SessionOptions()
    options.intra_op_num_threads = available_cpus()
    options.log_severity_level = 4
    provider = PROVIDERS["cpu"]
    return load_onnxruntime().InferenceSession(str(path), options, providers=[provider.name]).run


@contextlib.contextmanager
def other_outputs(program: ir.Model, values: Sequence[ir.Value]) -> Iterator[None]:
    """Let the graph answer inner values, inside the block."""
    own = list(program.graph.outputs)
    program.graph.outputs[:] = list(values)
    try:
        yield
    finally:
        program.graph.outputs[:] = own


def feeds_of(program: ir.Model, item: Encoded) -> dict[str, Array]:
    """One text as the graph takes it, int64 ``[1, tokens]``."""
    size = len(item)
    positions = np.arange(size)
    values = {
        "input_ids": np.array([item.ids]),
        "attention_mask": (positions < size - item.unattended)[None].astype(np.int64),
        "token_type_ids": np.array([item.type_ids]),
        "pooling_mask": (positions >= item.prompt_length)[None].astype(np.int64),
    }
    return {str(value.name): values[str(value.name)] for value in program.graph.inputs}
