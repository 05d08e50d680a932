"""Pooling by hand on a few numbers, then against sentence-transformers' own module on many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from sentence_transformers.sparse_encoder.modules.splade_pooling import SpladePooling

from pool_export.poolers.methods import METHODS, clear_padding, pool, splade
from pool_export.poolers.spec import POOLING_TYPES, TOKEN_POOLING_TYPES

# SPLADE pools logits, not states; its tests are at the end.
POOLED = [kind for kind in POOLING_TYPES if kind not in (*TOKEN_POOLING_TYPES, "SPLADE")]

# Three tokens of two features, and what each type makes of them. 99 lies under the padding.
TOKENS = [[1.0, -4.0], [3.0, -1.0], [2.0, -7.0]]
GARBAGE = [99.0, 99.0]
BY_HAND = {
    "LAST": [2.0, -7.0],
    "CLS": [1.0, -4.0],
    "MEAN": [2.0, -4.0],
    "MAX": [3.0, -1.0],
    "MEAN_SQRT_LEN": [3.4641016, -6.9282032],  # (6, -12) / sqrt 3
    "WEIGHTED_MEAN": [2.1666667, -4.5],  # (1·1 + 2·3 + 3·2, -1·4 - 2·1 - 3·7) / 6
}
PADDED = {
    "none": (TOKENS, [1, 1, 1]),
    "right": ([*TOKENS, GARBAGE, GARBAGE], [1, 1, 1, 0, 0]),
    "left": ([GARBAGE, GARBAGE, *TOKENS], [0, 0, 1, 1, 1]),
    "both": ([GARBAGE, *TOKENS, GARBAGE], [0, 1, 1, 1, 0]),
}


def pooled(rows, mask, *kinds):
    return pool(torch.tensor(rows), torch.tensor(mask), kinds)


def assert_close(found, expected, atol=1e-6):
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=0, atol=atol)


def test_every_pooling_type_has_a_method():
    assert set(METHODS) == set(POOLING_TYPES)
    assert set(BY_HAND) == set(POOLED)


# ------------------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("side", PADDED)
@pytest.mark.parametrize("kind", POOLED)
def test_three_tokens_under_padding_on_any_side(kind, side):
    row, mask = PADDED[side]
    assert_close(pooled([row], [mask], kind), [BY_HAND[kind]])


WITHOUT_THE_FIRST = {
    "LAST": [2.0, -7.0],
    "CLS": [3.0, -1.0],
    "MEAN": [2.5, -4.0],
    "MAX": [3.0, -1.0],
    "MEAN_SQRT_LEN": [3.5355339, -5.6568542],  # (5, -8) / sqrt 2
    "WEIGHTED_MEAN": [2.4, -4.6],  # (2·3 + 3·2, -2·1 - 3·7) / 5: a prompt's tokens are counted
}


@pytest.mark.parametrize("padding", [0, 1], ids=["zeros under the padding", "ones under the padding"])
@pytest.mark.parametrize("side", PADDED)
@pytest.mark.parametrize("kind", POOLED)
def test_a_token_of_a_prompt_stays_out(kind, side, padding):
    row, mask = PADDED[side]
    kept = [padding if not one else int(sum(mask[:index]) > 0) for index, one in enumerate(mask)]
    found = pool(torch.tensor([row]), torch.tensor([mask]), (kind,), torch.tensor([kept]))
    assert_close(found, [WITHOUT_THE_FIRST[kind]])


@pytest.mark.parametrize("side", PADDED)
@pytest.mark.parametrize("kind", TOKEN_POOLING_TYPES)
def test_all_and_step_keep_every_position(kind, side):
    row, mask = PADDED[side]
    assert_close(pooled([row], [mask], kind), [row])


@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize("mask", [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
def test_a_single_token_is_its_own_pool(kind, mask):
    assert_close(pooled([TOKENS], [mask], kind), [TOKENS[mask.index(1)]])


@pytest.mark.parametrize("kind", POOLED)
def test_a_sequence_of_one_position(kind):
    assert_close(pooled([[[5.0, -2.0]]], [[1]], kind), [[5.0, -2.0]])


@pytest.mark.parametrize("kind", TOKEN_POOLING_TYPES)
def test_a_sequence_of_one_position_at_token_level(kind):
    assert_close(pooled([[[5.0, -2.0]]], [[1]], kind), [[[5.0, -2.0]]])


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("kind", POOLED)
def test_a_fully_padded_row_pools_to_zeros(kind, length):
    rows, mask = [[GARBAGE] * length, [[1.0, -4.0]] * length], [[0] * length, [1] + [0] * (length - 1)]
    assert_close(pooled(rows, mask, kind), [[0.0, 0.0], [1.0, -4.0]])


@pytest.mark.parametrize("kind", TOKEN_POOLING_TYPES)
def test_a_fully_padded_row_stays_as_it_is_at_token_level(kind):
    assert_close(pooled([[GARBAGE]], [[0]], kind), [[GARBAGE]])


@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_lies_under_the_padding_never_shows(kind, side, value):
    """Attention gives NaN to a position that sees no token; a product with the mask would keep it."""
    row, mask = PADDED[side]
    states = torch.tensor([row, row])
    states[:, [not kept for kept in mask]] = value
    masks = torch.tensor([mask, [0] * len(mask)])
    assert_close(pool(states, masks, (kind,)), [BY_HAND[kind], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("CLS", [3.0, -1.0]),
        ("LAST", [0.0, 8.0]),
        ("MEAN", [1.5, 3.5]),
        ("MAX", [3.0, 8.0]),
        ("WEIGHTED_MEAN", [1.0, 5.0]),  # token number 1 and token number 2, whatever lies between
    ],
)
def test_a_hole_in_the_mask_is_no_token(kind, expected):
    assert_close(pooled([[GARBAGE, [3.0, -1.0], GARBAGE, [0.0, 8.0], GARBAGE]], [[0, 1, 0, 1, 0]], kind), [expected])


def test_last_and_cls_go_by_the_mask_not_by_the_values():
    rows = [[[0.0, 0.0], [7.0, 7.0], [0.0, 0.0], [9.0, 9.0]]]
    assert_close(pooled(rows, [[1, 1, 1, 0]], "LAST"), [[0.0, 0.0]])
    assert_close(pooled(rows, [[1, 1, 1, 0]], "CLS"), [[0.0, 0.0]])
    assert_close(pooled(rows, [[0, 1, 1, 0]], "CLS"), [[7.0, 7.0]])


def test_each_row_of_a_ragged_batch_has_its_own_length():
    rows, mask = (
        [PADDED["right"][0], PADDED["left"][0], [*TOKENS, *TOKENS[:2]]],
        [PADDED["right"][1], PADDED["left"][1], [1] * 5],
    )
    assert_close(pooled(rows, mask, "LAST"), [[2.0, -7.0], [2.0, -7.0], [3.0, -1.0]])
    assert_close(pooled(rows, mask, "MEAN"), [[2.0, -4.0], [2.0, -4.0], [2.0, -3.4]])


def test_several_types_are_concatenated_in_their_order():
    row, mask = PADDED["left"]
    assert_close(pooled([row], [mask], "MEAN", "CLS"), [[2.0, -4.0, 1.0, -4.0]])
    assert_close(pooled([row], [mask], "CLS", "MEAN"), [[1.0, -4.0, 2.0, -4.0]])
    assert_close(pooled([row], [mask], "LAST", "MAX", "LAST"), [[2.0, -7.0, 3.0, -1.0, 2.0, -7.0]])


# --------------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [*POOLED, *TOKEN_POOLING_TYPES])
def test_any_float_dtype_gives_float32(kind, dtype):
    row, mask = PADDED["right"]
    found = pool(torch.tensor([row], dtype=dtype), torch.tensor([mask]), (kind,))
    assert found.dtype == torch.float32
    assert_close(found, [BY_HAND[kind]] if kind in BY_HAND else [row])


def test_half_precision_is_summed_in_float32():
    """60000 + 60000 is past float16, 257 between two bfloat16 numbers."""
    mask = torch.ones(1, 2, dtype=torch.int64)
    assert_close(pool(torch.full((1, 2, 1), 60000.0, dtype=torch.float16), mask, ("MEAN",)), [[60000.0]])
    steps = torch.tensor([[[256.0], [258.0]]], dtype=torch.bfloat16)
    assert_close(pool(steps, mask, ("MEAN",)), [[257.0]])


def test_a_long_text_is_counted_exactly():
    length = 40_000  # weights sum to 800 020 000, past float32's whole numbers
    states, mask = torch.ones(1, length, 1), torch.ones(1, length, dtype=torch.int64)
    for kind in ("MEAN", "WEIGHTED_MEAN", "MAX"):
        assert_close(pool(states, mask, (kind,)), [[1.0]], atol=1e-5)


def test_clear_padding_works_on_vectors_of_any_width():
    values = torch.tensor([[[1.0, 2.0, float("nan")], [4.0, float("inf"), 6.0]]])
    assert_close(clear_padding(values[..., :2], torch.tensor([[1, 0]])), [[[1.0, 2.0], [0.0, 0.0]]])


# ----------------------------------------------------------------------------- against sentence-transformers

MODES = {
    "cls": "CLS",
    "max": "MAX",
    "mean": "MEAN",
    "mean_sqrt_len_tokens": "MEAN_SQRT_LEN",
    "weightedmean": "WEIGHTED_MEAN",
    "lasttoken": "LAST",
}
TUPLES = [("cls", "mean"), ("mean", "cls"), ("max", "lasttoken", "weightedmean"), tuple(MODES)]


def ragged(side, *, batch=7, length=11, hidden=8, seed=0):
    """Random states, garbage under the padding, and lengths from 1 to `length`."""
    random = torch.Generator().manual_seed(seed)
    states = torch.randn(batch, length, hidden, generator=random)
    lengths = torch.linspace(1, length, batch).round().to(torch.int64).unsqueeze(1)
    position = torch.arange(length).unsqueeze(0)
    mask = position < lengths if side == "right" else position >= length - lengths
    return states.masked_fill(~mask.unsqueeze(-1), 1e3), mask.to(torch.int64)


def reference(states, mask, modes):
    features = {"token_embeddings": states, "attention_mask": mask}
    return Pooling(states.shape[-1], modes)(features)["sentence_embedding"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), *TUPLES], ids="+".join)
def test_the_same_vectors_as_sentence_transformers(modes, side):
    states, mask = ragged(side)
    expected = reference(states, mask, modes)
    assert expected.shape == (7, 8 * len(modes))
    assert_close(pool(states, mask, tuple(MODES[mode] for mode in modes)), expected)


def test_the_library_has_no_mode_that_is_missing_here():
    assert set(Pooling.POOLING_MODES) == set(MODES)


def test_fully_padded_rows_differ_from_the_library_on_purpose():
    """Zeros for every type; the library has -inf for max, and the first padding's state for cls."""
    states, mask = torch.full((1, 3, 2), 5.0), torch.zeros(1, 3, dtype=torch.int64)
    assert torch.isinf(reference(states, mask, ("max",))).all()
    assert_close(reference(states, mask, ("cls",)), [[5.0, 5.0]])
    for kind in POOLED:
        assert_close(pool(states, mask, (kind,)), [[0.0, 0.0]])


# ----------------------------------------------------------------------------------------------- properties


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(POOLED),
    length=st.integers(1, 6),
    left=st.integers(0, 4),
    right=st.integers(0, 4),
    seed=st.integers(0, 2**16),
)
def test_padding_and_neighbours_never_change_a_vector(kind, length, left, right, seed):
    random = np.random.default_rng(seed)
    text = torch.from_numpy(random.standard_normal((1, length, 3)).astype(np.float32))
    alone = pool(text, torch.ones(1, length, dtype=torch.int64), (kind,))
    wide = torch.from_numpy(random.standard_normal((3, left + length + right, 3)).astype(np.float32))
    wide[1, left : left + length] = text[0]
    mask = torch.from_numpy(random.integers(0, 2, (3, left + length + right)))
    mask[1] = torch.tensor([0] * left + [1] * length + [0] * right)
    assert_close(pool(wide, mask, (kind,))[1:2], alone)


# ------------------------------------------------------------------------------------------------- SPLADE


@pytest.mark.parametrize("side", PADDED)
@pytest.mark.parametrize(
    ("strategy", "function", "expected"),
    [
        # log1p(relu) of (1, 3, 2) and of three negative numbers.
        ("max", "relu", [1.3862944, 0.0]),
        ("sum", "relu", [3.1780539, 0.0]),  # log 2 + log 4 + log 3
        ("max", "log1p_relu", [0.8697417, 0.0]),  # log(1 + log 4)
        ("sum", "log1p_relu", [2.1376070, 0.0]),
    ],
)
def test_splade_by_hand_under_padding_on_any_side(side, strategy, function, expected):
    row, mask = PADDED[side]
    logits, masks = torch.tensor([row, row]), torch.tensor([mask, [0] * len(mask)])
    assert_close(splade(logits, masks, strategy, function), [expected, [0.0, 0.0]])
    logits[:, [not kept for kept in mask]] = float("nan")
    assert_close(splade(logits, masks, strategy, function), [expected, [0.0, 0.0]])


@pytest.mark.parametrize("strategy", ["max", "sum"])
@pytest.mark.parametrize("function", ["relu", "log1p_relu"])
def test_splade_is_sentence_transformers(strategy, function):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 9, 50, generator=generator) * 3
    mask = (torch.arange(9)[None] < torch.tensor([9, 1, 4, 7])[:, None]).long()
    module = SpladePooling(pooling_strategy=strategy, activation_function=function).eval()
    wanted = module({"token_embeddings": logits.clone(), "attention_mask": mask})["sentence_embedding"]
    assert_close(splade(logits, mask, strategy, function), wanted)
