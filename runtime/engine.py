"""Encoded inputs in, rows of graph outputs out: plan, fill, run, restore the order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from ..poolers.spec import PoolingSpec
from .bundle import Bundle
from .config import RuntimeConfig
from .image_engine import ImageEngine
from .manifest import GraphInfo
from .memory import BatchCost, MemoryBudget, measure_cost, resident
from .outputs import require_finite
from .planning import Batch, plan_batches
from .session import Session
from .streams import in_streams
from .tokens import Encoded, TextTokenizer

Array = np.ndarray
Rows = dict[str, Array]
Progress = Callable[[int], object]

# Logits of a batch, before SPLADE pools them: 128 MiB in float32, of which a run holds several. More is not faster:
# a trained SPLADE (vocabulary 30522) took the same time from 2^24 to 2^27, and 0.5 to 2.1 GB.
_MAX_LOGITS = 2**25

_SEQUENCE_AXIS = "sequence_length"


class PoolingEngine(Protocol):
    """What a call needs of an engine: ``Engine`` itself, or its shared form behind a scheduler (``scheduling/``)."""

    @property
    def bundle(self) -> Bundle:
        """The opened bundle."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Graph outputs that may be asked for."""

    def run(self, inputs: Sequence[Encoded], outputs: Sequence[str], progress: Progress | None = None) -> list[Rows]:
        """Answer inputs in their order; see ``Engine.run``."""


class Engine:
    """A loaded bundle: its tokenizer and its session. Safe to call from several threads.

    ``token_level`` names the graph outputs that have a row per token; ``holds_memory`` says that a long text
    left more behind than ``give_back`` would leave.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: RuntimeConfig,
        max_length: int | None = None,
        memory: MemoryBudget | None = None,
    ) -> None:
        """Load tokenizer and graph; ``memory`` is the budget shared with other engines of the process.

        Raises:
            BundleError: a damaged file.
            ProviderError: the device is not available.
            InputError: ``max_length`` above the bundle's, or a memory limit that the model alone exceeds.
        """
        self.bundle = bundle
        self.config = config
        self.tokenizer = TextTokenizer(bundle.path("tokenizer.json"), bundle.manifest.tokenizer, max_length)
        self.memory = memory or MemoryBudget.of(config.memory_limit)
        limit = self.memory.limit
        self.session = Session(bundle, config, room=None if limit is None else max(0, limit - resident()))
        self.images = ImageEngine(bundle, config)
        self.token_level = _token_level_outputs(self.session.info)
        self.max_tokens = _token_budget(config, bundle.manifest.pooling, self.session.batch_tokens)
        self.holds_memory = False
        self._cost: BatchCost | None = None
        if self.memory.limit is not None and self.session.on_cpu:
            self._cost = measure_cost(self._growth, self.max_tokens, self.tokenizer.max_length)
            self.memory.settle()

    @property
    def output_names(self) -> tuple[str, ...]:
        """Graph outputs that may be asked for."""
        return self.session.output_names

    @property
    def streams(self) -> int:
        """Threads that may well call ``forward`` at once."""
        return self.session.streams

    def run(self, inputs: Sequence[Encoded], outputs: Sequence[str], progress: Progress | None = None) -> list[Rows]:
        """Run inputs through the graph.

        Args:
            inputs: tokenized texts, none empty, and images.
            outputs: graph outputs to return.
            progress: called with the number of texts just finished.

        Returns:
            One dict a text, in input order; token-level outputs are cut to the text's own tokens.

        Raises:
            RuntimeFailure: the graph failed or answered a non-finite number.
        """
        if any(item.image is not None for item in inputs):
            return self._run_towers(inputs, outputs, progress)
        try:
            return self._run_texts(inputs, outputs, progress)
        finally:
            if self.holds_memory:
                self.give_back()

    def give_back(self) -> None:
        """Return the memory that a long text left behind, after a pass over one token.

        Raises:
            RuntimeFailure: the graph failed.
        """
        self.holds_memory = False
        self.session.run(self._feeds([self._padding(1)]), self.output_names[:1])

    def _run_texts(self, inputs: Sequence[Encoded], outputs: Sequence[str], progress: Progress | None) -> list[Rows]:
        self.check_memory(inputs)
        results: list[Rows] = [{} for _ in inputs]
        plan = plan_batches(
            [len(item) for item in inputs],
            max_tokens=self.max_tokens,
            max_rows=self.config.max_batch_size,
            fits=self.fits,
            streams=self.streams,
        )

        def answers(batch: Batch) -> list[Rows]:
            rows = self.forward([inputs[row] for row in batch.rows], outputs, alone=len(plan) == 1)
            return [checked(answer) for answer in rows]

        with in_streams(answers, plan, self.session.streams) as done:
            for batch, rows in zip(plan, done, strict=True):
                for row, answer in zip(batch.rows, rows, strict=True):
                    results[row] = answer
                if progress is not None:
                    progress(len(batch.rows))
        return results

    def weight(self, item: Encoded) -> int:
        """Tokens that an input counts for in a batch; an image has its patches."""
        return self.images.tokens if item.image is not None else len(item)

    def fits(self, rows: int, length: int) -> bool:
        """Whether each stream may run such a batch at once, by the memory limit."""
        return self._cost is None or self._cost(rows, length) * self.streams <= self.memory.room

    def check_memory(self, inputs: Sequence[Encoded]) -> None:
        """Refuse texts that the memory limit has no room for. Images are not counted.

        Raises:
            InputError: names the longest one's length and the limit.
        """
        if self._cost is not None and (longest := max(map(len, inputs), default=0)):
            self.memory.check(self._cost(1, longest), longest)

    def forward(self, batch: Sequence[Encoded], outputs: Sequence[str], *, alone: bool = False) -> list[Rows]:
        """Run one batch, texts or images, padded to its longest. The numbers are not checked (see ``checked``).

        Args:
            batch: what to run.
            outputs: graph outputs to return.
            alone: no other batch waits or runs, so it may have the threads of every stream.

        Raises:
            RuntimeFailure: the graph failed.
        """
        if batch[0].image is not None:
            return self.images.forward([item.image for item in batch], outputs, alone=alone)
        feeds = self._feeds(batch, self.session.length_step if alone and len(batch) == 1 else 1)
        count, length = feeds["input_ids"].shape
        # What an ordinary batch takes is kept for the next one. What a long text took goes back after the next
        # shorter batch: to ask for it anew would take a sixth of the time of the next long one.
        is_long = length > self.max_tokens
        gives_back = self.holds_memory and not is_long
        with self.memory.reserve(self._cost(count, length) if self._cost is not None else 0):
            # What goes back is what the streams hold.
            values = self.session.run(feeds, outputs, gives_back=gives_back, alone=alone and not gives_back)
        if is_long or gives_back:
            self.holds_memory = is_long  # another stream's ordinary batch says nothing of it
        rows: list[Rows] = [{} for _ in batch]
        for name, value in values.items():
            for position, item in enumerate(batch):
                cut = value[position, : len(item)] if name in self.token_level else value[position]
                # Copied: a view would keep the whole padded batch alive.
                rows[position][name] = np.array(cut, dtype=np.float32)
        return rows

    def _growth(self, rows: int, length: int) -> int:
        """Run a batch of so many tokens in every stream; return by how many bytes the process grew for each."""
        feeds = self._feeds([self._padding(length)] * rows)
        before = resident()
        work = partial(self.session.run, outputs=self.output_names, gives_back=False)
        with in_streams(work, [feeds] * self.streams, self.streams) as done:
            deque(done, maxlen=0)
        grown = resident() - before
        self.give_back()
        return grown // self.streams

    def _padding(self, length: int) -> Encoded:
        return Encoded([self.tokenizer.first_special_id() or 0] * length, [0] * length)

    def _run_towers(self, inputs: Sequence[Encoded], outputs: Sequence[str], progress: Progress | None) -> list[Rows]:
        """Texts through one graph, images through the other, answers in input order."""
        texts = [index for index, item in enumerate(inputs) if item.image is None]
        images = [index for index, item in enumerate(inputs) if item.image is not None]
        answers = self.run([inputs[index] for index in texts], outputs, progress) if texts else []
        answers += self.images.run([inputs[index].image for index in images], outputs, progress)
        placed = dict(zip([*texts, *images], answers, strict=True))
        return [placed[index] for index in range(len(inputs))]

    def _feeds(self, batch: Sequence[Encoded], step: int = 1) -> dict[str, Array]:
        """Arrays of a batch, padded to its longest text, or to the next multiple of ``step`` if the model takes it."""
        longest = max(map(len, batch))
        shape = (len(batch), min(-(-longest // step) * step, max(longest, self.tokenizer.max_length)))
        ids = np.full(shape, self.tokenizer.policy.pad_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        types = np.zeros(shape, dtype=np.int64)
        pooled = np.zeros(shape, dtype=np.int64)
        for position, item in enumerate(batch):
            ids[position, : len(item)] = item.ids
            mask[position, : len(item) - item.unattended] = 1
            types[position, : len(item)] = item.type_ids
            pooled[position, item.prompt_length : len(item)] = 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "pooling_mask": pooled}


def checked(rows: Rows) -> Rows:
    """Return the outputs of one text.

    Raises:
        RuntimeFailure: a number is not finite.
    """
    return {name: require_finite(value, name) for name, value in rows.items()}


def _token_budget(config: RuntimeConfig, spec: PoolingSpec, default: int) -> int:
    """Padded tokens a batch: SPLADE answers a number per token and vocabulary entry before it pools."""
    budget = config.max_batch_tokens or default
    if not spec.is_sparse_only or not spec.embedding_size:
        return budget
    return min(budget, max(1, _MAX_LOGITS // spec.embedding_size))


def _token_level_outputs(graph: GraphInfo) -> frozenset[str]:
    return frozenset(item.name for item in graph.outputs if len(item.shape) > 1 and item.shape[1] == _SEQUENCE_AXIS)
