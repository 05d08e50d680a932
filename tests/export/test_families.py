"""Every tiny family in every head it has: the bundle against transformers, text by text, unpadded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export import LLM, PoolingParams
from pool_export.models_zoo.texts import hard_texts, pairs, sentences
from pool_export.models_zoo.tiny import FAMILIES, heads_of

Array = np.ndarray
Outputs = dict[str, Array]

EXPORTED_HEADS = ("base", "sequence_1", "sequence_3", "token_5")
CASES = [(family, head, "auto") for family in FAMILIES for head in EXPORTED_HEADS if head in heads_of(family)]
CASES += [("qwen3", "causal_lm", "embed"), ("llama", "causal_lm", "embed")]
CASES += [("qwen2", "sequence_1", "reward"), ("bert", "base", "reward")]

# One score a text, and one row a token, add one matrix to heads that the quick cases export in full.
QUICK_FAMILIES = {
    "sequence_1": ("bert", "qwen3"),
    "token_5": ("bert", "qwen3", "t5"),
    "causal_lm": ("qwen3",),
}

# Two layers where layers alternate between kinds of attention, one elsewhere: half the tracing.
LAYERS = {family: max(1, len(row.layer_types)) for family, row in FAMILIES.items()}

# Lengths from a few tokens to beyond the limit, in no order; never an empty one: not every tokenizer has an answer.
RAGGED = [*sentences()[:24:3], *[text for text in hard_texts()[::4] if text], "a", hard_texts()[-1], sentences()[40]]

TOLERANCE = 1e-5
POOLED = {"mean": lambda states: states.mean(axis=0), "cls": lambda states: states[0], "last": lambda s: s[-1]}


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


class Case:
    """One exported checkpoint, and what transformers answers for the same tokens."""

    def __init__(self, family: str, head: str, convert: str, llm: LLM, oracle: Any) -> None:
        self.family, self.head, self.convert = family, head, convert
        self.llm, self.oracle = llm, oracle
        self.primary = self._primary()

    def _primary(self) -> str:
        if self.convert == "reward":
            return "rewards"
        return "sentence_embedding" if self.head in ("base", "causal_lm") else "logits"

    def expected(self, tokens: dict[str, list[int]]) -> Outputs:
        """The graph's outputs by definition, without its batch axis."""
        if self.primary == "rewards":
            states = self.oracle.states(tokens)
            return {"rewards": states if self.head == "base" else self.oracle.score(states)}
        if self.primary == "logits":
            logits = self._logits(tokens)
            return {"logits": logits, "probs": sigmoid(logits) if self.head == "sequence_1" else softmax(logits)}
        states = self.oracle.states(tokens)
        kind = "last" if FAMILIES[self.family].decoder else "mean" if self.family == "t5" else "cls"
        raw = POOLED[kind](states)
        unit = raw / np.linalg.norm(raw)
        return {"sentence_embedding": unit, "unnormalized_embedding": raw, "last_hidden_state": states}

    def _logits(self, tokens: dict[str, list[int]]) -> Array:
        if FAMILIES[self.family].decoder and self.head != "token_5":
            return self.oracle.score(self.oracle.states(tokens)[-1])
        return self.oracle.logits(tokens)

    def run(self, feeds: list[dict[str, list[int]]], side: str, extra: int) -> list[Outputs]:
        """Feed the ONNX session directly, padded on a side; every text's outputs, padding cut off."""
        session = self.llm.engine.session
        width = min(max(len(row["input_ids"]) for row in feeds) + extra, self.llm.engine.tokenizer.max_length)
        batch = {name: np.zeros((len(feeds), width), np.int64) for name in session.input_names}
        batch["input_ids"][:] = self.llm.engine.tokenizer.policy.pad_token_id
        spans = []
        for index, row in enumerate(feeds):
            size = len(row["input_ids"])
            start = {"right": 0, "left": width - size, "both": (width - size) // 2}[side]
            spans.append(slice(start, start + size))
            for name in batch:
                batch[name][index, spans[-1]] = row.get(name, [0] * size)
        values = session.run(batch, session.output_names)
        return [
            {name: value[index][spans[index]] if value.ndim == 3 else value[index] for name, value in values.items()}
            for index in range(len(feeds))
        ]

    def ask(self, texts: list[str]) -> tuple[list[list[int]], dict[str, list[Array]]]:
        """Every number the API gives for these texts, and the token ids it ran."""
        cut: dict[str, Any] = {"truncate_prompt_tokens": -1, "use_tqdm": False}
        raw = PoolingParams(use_activation=False)
        if self.primary == "rewards":
            rewards = self.llm.reward(texts, **cut)
            return [out.prompt_token_ids for out in rewards], {"rewards": [out.outputs.data for out in rewards]}
        if self.primary == "sentence_embedding":
            unit, plain = self.llm.embed(texts, **cut), self.llm.embed(texts, pooling_params=raw, **cut)
            values = {"sentence_embedding": unit, "unnormalized_embedding": plain}
        elif self.head == "token_5":
            task: dict[str, Any] = {"pooling_task": "token_classify", **cut}
            values = {"probs": self.llm.encode(texts, **task), "logits": self.llm.encode(texts, raw, **task)}
        else:
            values = {
                "probs": self.llm.classify(texts, **cut),
                "logits": self.llm.classify(texts, pooling_params=raw, **cut),
            }
        ids = [out.prompt_token_ids for out in next(iter(values.values()))]
        return ids, {name: [out.outputs.data for out in row] for name, row in values.items()}


def _marked(family: str, head: str, convert: str) -> Any:
    quick = convert == "reward" or family in QUICK_FAMILIES.get(head, FAMILIES)
    name = "-".join((family, head, convert)).removesuffix("-auto")
    return pytest.param((family, head, convert), id=name, marks=() if quick else pytest.mark.slow)


@pytest.fixture(scope="module", params=[_marked(*case) for case in CASES])
def case(request: pytest.FixtureRequest, tiny_bundle: Callable[..., Path], open_llm: Any, oracle: Any) -> Case:
    family, head, convert = request.param
    layers = LAYERS[family]
    export = {"convert": convert} if convert != "auto" else {}
    bundle = tiny_bundle(family, head, export=export, layers=layers)
    return Case(family, head, convert, open_llm(bundle), oracle(family, head, layers=layers))


def test_a_ragged_batch_agrees_with_transformers_text_by_text(case: Case, gap: Any, record_property: Any):
    tokens = [case.oracle.tokens(text) for text in RAGGED]
    ids, found = case.ask(RAGGED)
    assert ids == [row["input_ids"] for row in tokens]
    assert len({len(row) for row in ids}) > 8, "the batch is not ragged"
    expected = [case.expected(row) for row in tokens]
    gaps = {
        name: max(gap(value, want[name]) for value, want in zip(values, expected, strict=True))
        for name, values in found.items()
    }
    record_property("max_abs", gaps)
    assert max(gaps.values()) <= TOLERANCE, gaps


def test_padding_on_either_side_changes_nothing(case: Case, gap: Any, record_property: Any):
    tokens = [case.oracle.tokens(text) for text in RAGGED]
    expected = [case.expected(row) for row in tokens]
    gaps = {}
    for side, extra in (("right", 0), ("left", 0), ("left", 7), ("both", 7)):
        # The longest text fills the table; without it there is room for padding.
        short = [index for index, row in enumerate(tokens) if len(row["input_ids"]) < 64]
        chosen = short if extra else range(len(tokens))
        found = case.run([tokens[index] for index in chosen], side, extra)
        for name in expected[0]:
            worst = max(gap(row[name], expected[index][name]) for index, row in zip(chosen, found, strict=True))
            gaps[f"{side}+{extra}/{name}"] = worst
    record_property("max_abs", gaps)
    primary = {key: value for key, value in gaps.items() if not key.endswith("last_hidden_state")}
    assert max(primary.values()) <= TOLERANCE, gaps
    assert max(gaps.values()) <= 2 * TOLERANCE, gaps


def test_neighbours_do_not_change_a_text(case: Case, record_property: Any):
    texts = [*sentences()[:62], "a", hard_texts()[-1]]  # 64 of them, the longest possible among them
    ids, together = case.ask(texts)
    assert max(map(len, ids)) == case.llm.engine.tokenizer.max_length
    worst = 0.0
    for index in (0, 7, 31, 62):
        _, alone = case.ask([texts[index]])
        for name, values in alone.items():
            scale = max(1.0, float(np.abs(values[0]).max()))
            worst = max(worst, float(np.abs(values[0] - together[name][index]).max()) / scale)
    record_property("max_abs", worst)
    assert worst <= 2e-6


def test_a_row_without_a_token_is_finite_and_leaves_the_others_alone(case: Case):
    session = case.llm.engine.session
    feeds = {name: np.zeros((3, 9), np.int64) for name in session.input_names}
    feeds["input_ids"][:] = np.arange(27).reshape(3, 9) + 8
    feeds["attention_mask"][[0, 2]] = 1
    values = session.run(feeds, session.output_names)
    alone = session.run({name: value[:1] for name, value in feeds.items()}, session.output_names)
    for name, value in values.items():
        assert np.isfinite(value).all(), name
        assert np.abs(value[0] - alone[name][0]).max() <= 2e-6 * max(1.0, np.abs(value[0]).max()), name


@pytest.mark.parametrize("family", QUICK_FAMILIES["sequence_1"])
def test_score_of_a_cross_encoder_reads_the_pair_as_one_input(
    family: str, tiny_bundle: Any, open_llm: Any, oracle: Any, gap: Any
):
    llm = open_llm(tiny_bundle(family, "sequence_1", layers=LAYERS[family]))
    judge = Case(family, "sequence_1", "auto", llm, oracle(family, "sequence_1", layers=LAYERS[family]))
    queries, documents = zip(*pairs()[:8], strict=True)
    outputs = llm.score(list(queries), list(documents), use_tqdm=False)
    for out, query, document in zip(outputs, queries, documents, strict=True):
        tokens = judge.oracle.tokens(query, document)
        assert out.prompt_token_ids == tokens["input_ids"]
        assert gap([out.outputs.score], judge.expected(tokens)["probs"]) <= TOLERANCE


def test_segments_reach_the_graph(tiny_bundle: Any, open_llm: Any):
    llm = open_llm(tiny_bundle("bert", "sequence_1", layers=1))
    query, document = pairs()[0]
    (apart,) = llm.score(query, document)
    (flat,) = llm.classify({"prompt_token_ids": apart.prompt_token_ids})
    assert abs(apart.outputs.score - flat.outputs.probs[0]) > 1e-3


# -------------------------------------------------------------------------------- decoders: which token is the last


def _last_rows(adapted: Any, folder: Path, texts: list[str]) -> Array:
    composed = adapted(folder)
    logits = [composed.run(texts, side)["logits"] for side in ("left", "right")]
    assert np.abs(logits[0] - logits[1]).max() <= TOLERANCE
    return logits[0]


def test_the_last_token_is_the_last_of_the_mask_even_where_it_is_the_pad_token(
    tiny_folder: Any, adapted: Any, oracle: Any, gap: Any
):
    """Qwen3 ends texts in its pad token; transformers' own forward stops one token short of it, vLLM does not."""
    judge = oracle("qwen3", "sequence_3")
    texts = list(sentences()[:8])
    for text, row in zip(texts, _last_rows(adapted, tiny_folder("qwen3", "sequence_3"), texts), strict=True):
        tokens = judge.tokens(text)
        assert tokens["input_ids"][-1] == judge.model.config.pad_token_id
        states = judge.states(tokens)
        assert gap(row, judge.score(states[-1])) <= TOLERANCE
        assert gap(judge.logits(tokens), judge.score(states[-2])) <= TOLERANCE, "transformers has changed its rule"
        assert np.abs(row - judge.logits(tokens)).max() > 0.05


@pytest.mark.parametrize(("family", "pad"), [("qwen3", 5), ("qwen2", None), ("llama", None), ("gemma3_text", None)])
def test_transformers_agrees_where_texts_do_not_end_in_the_pad_token(
    family: str, pad: int | None, tiny_folder: Any, adapted: Any, oracle: Any, gap: Any
):
    options = {} if pad is None else {"pad_token_id": pad}
    judge = oracle(family, "sequence_3", **options)
    texts = list(sentences()[:8])
    rows = _last_rows(adapted, tiny_folder(family, "sequence_3", **options), texts)
    for text, row in zip(texts, rows, strict=True):
        tokens = judge.tokens(text)
        assert judge.model.config.pad_token_id not in tokens["input_ids"]
        assert gap(row, judge.logits(tokens)) <= TOLERANCE
