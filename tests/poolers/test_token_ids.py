"""Names become token ids: markers, expansion, skiplist, special tokens."""

from __future__ import annotations

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.parts import Expansion, LateInteraction, SparseHead, TextSide
from pool_export.poolers.spec import PoolingSpec
from pool_export.poolers.token_ids import with_token_ids

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "[Q] ": 3, "[D]": 4, "!": 5, "x": 6}
SPECIAL = {"cls": 7, "eos": None, "sep": 8, "pad": 0, "unk": 1, "mask": 2}


def filled(late: LateInteraction | None = None, sparse: SparseHead | None = None, **special: int | None) -> PoolingSpec:
    spec = PoolingSpec(convert="embed", pooling=("ALL",), hidden_size=8, late_interaction=late, sparse=sparse)
    return with_token_ids(spec, VOCABULARY, {**SPECIAL, **special})


def of(late: LateInteraction, **special: int | None) -> LateInteraction:
    found = filled(late, **special).late_interaction
    assert found is not None
    return found


def test_a_head_that_names_nothing_stays_as_it_is():
    spec = PoolingSpec(convert="embed", pooling=("MEAN",), hidden_size=8, sparse=SparseHead(kind="splade"))
    assert with_token_ids(spec, VOCABULARY, SPECIAL) is spec


@pytest.mark.parametrize(
    ("marker", "side"),
    [
        ("[Q] ", TextSide(marker="[Q] ", marker_id=3, prompt="find")),  # one token, its space included
        ("[D] ", TextSide(marker="[D]", marker_id=4, prompt=" find")),  # the rest is text
        ("query: ", TextSide(prompt="query: find")),  # no token: text
        ("", TextSide(prompt="find")),
    ],
)
def test_a_marker_is_one_token_or_text(marker, side):
    assert of(LateInteraction(query=TextSide(marker=marker, prompt="find"))).query == side


def test_words_that_are_no_tokens_do_not_skip_the_unknown_token():
    assert of(LateInteraction(skiplist_words=("!", "?", "x", "!"))).skiplist_token_ids == (5, 6)


@pytest.mark.parametrize(
    ("token", "special", "wanted"), [(None, {}, 2), (None, {"mask": None, "eos": 9}, 9), ("x", {}, 6)]
)
def test_the_expansion_token_is_named_or_the_mask_or_the_end(token, special, wanted):
    late = of(LateInteraction(expansion=Expansion(length=4, token=token)), **special)
    assert late.expansion is not None
    assert late.expansion.token_id == wanted
    assert late.counted_token_id == wanted


def test_an_expansion_that_is_attended_to_needs_no_counting():
    assert of(LateInteraction(expansion=Expansion(length=4, attend=True))).counted_token_id is None


@pytest.mark.parametrize(
    ("token", "special", "why"),
    [
        ("[X]", {}, "needs '\\[X\\]', which the tokenizer does not have"),
        (None, {"mask": None}, "needs a mask token or an end of text"),
        ("[PAD]", {}, "which is the pad token too"),
    ],
)
def test_an_expansion_that_cannot_be_made_is_refused(token, special, why):
    with pytest.raises(ConfigError, match=why):
        of(LateInteraction(expansion=Expansion(length=4, token=token)), **special)


def test_special_tokens_have_no_lexical_weight():
    spec = filled(sparse=SparseHead(kind="token_weights"), eos=8)
    assert spec.sparse == SparseHead(kind="token_weights", special_token_ids=(0, 1, 7, 8))
