"""What late interaction does around the graph: markers, expansion, lengths, skiplist, MaxSim; ids by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pool_export.poolers.parts import Expansion, LateInteraction, TextSide
from pool_export.runtime.errors import InputError
from pool_export.runtime.late import check_input_type, encode_texts, kept_rows, maxsim
from pool_export.runtime.manifest import TokenizerPolicy
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.tokens import TextTokenizer

# [PAD] [CLS] [SEP] [UNK] [STEP] are 0 to 4, zero is 5, one is 6 ... (see conftest).
Q, D, FILL = 4, 3, 0


@pytest.fixture
def tokenizer(tokenizer_file):
    return TextTokenizer(tokenizer_file, TokenizerPolicy(max_length=10))


def ids(tokenizer, late, side, text, truncate=None):
    (item,) = encode_texts(tokenizer, late, side, [Prompt(text=text)], [truncate])
    assert len(item.ids) == len(item.type_ids)
    return item.ids, item.unattended


def test_a_marker_goes_behind_the_first_token(tokenizer):
    late = LateInteraction(query=TextSide(marker_id=Q), document=TextSide(marker_id=D, prompt="one "))
    assert ids(tokenizer, late, "query", "two three") == ([1, Q, 7, 8, 2], 0)
    assert ids(tokenizer, late, "document", "two") == ([1, D, 6, 7, 2], 0)
    assert ids(tokenizer, late, "query", "") == ([1, Q, 2], 0)


def test_a_text_is_cut_at_the_declared_length_with_its_marker(tokenizer):
    late = LateInteraction(query=TextSide(marker_id=Q, max_length=5), document=TextSide(max_length=4))
    assert ids(tokenizer, late, "query", "one two three four five") == ([1, Q, 6, 7, 2], 0)
    assert ids(tokenizer, late, "document", "one two three four five") == ([1, 6, 7, 2], 0)
    assert ids(tokenizer, late, "document", "one two three", 3) == ([1, 6, 2], 0), "the smaller of the two"


def test_without_a_declared_length_a_long_text_is_refused_or_cut_as_asked(tokenizer):
    late, text = LateInteraction(document=TextSide(marker_id=D)), "one " * 12
    with pytest.raises(InputError, match="maximum context length is 10"):
        ids(tokenizer, late, "document", text)
    found, _ = ids(tokenizer, late, "document", text, -1)
    assert (len(found), found[:3]) == (10, [1, D, 6])
    with pytest.raises(InputError, match="maximum context length is 10"):
        ids(tokenizer, late, "document", "one " * 8)  # fits without its marker only


@pytest.mark.parametrize(("attend", "unattended"), [(False, 3), (True, 0)])
def test_a_query_is_filled_up(tokenizer, attend, unattended):
    late = LateInteraction(expansion=Expansion(length=6, token_id=FILL, attend=attend))
    assert ids(tokenizer, late, "query", "one") == ([1, 6, 2, FILL, FILL, FILL], unattended)
    assert ids(tokenizer, late, "document", "one") == ([1, 6, 2], 0)


def test_a_fixed_expansion_cuts_and_a_least_one_does_not(tokenizer):
    text = "one two three four five six"
    fixed = LateInteraction(query=TextSide(max_length=9), expansion=Expansion(length=4, token_id=FILL))
    assert ids(tokenizer, fixed, "query", text) == ([1, 6, 7, 2], 0)
    least = LateInteraction(expansion=Expansion(length=4, token_id=FILL, is_fixed=False))
    assert ids(tokenizer, least, "query", text) == ([1, 6, 7, 8, 9, 10, 11, 2], 0)
    assert ids(tokenizer, least, "query", "one") == ([1, 6, 2, FILL], 1)
    capped = LateInteraction(query=TextSide(max_length=5), expansion=Expansion(length=4, token_id=FILL, is_fixed=False))
    assert ids(tokenizer, capped, "query", text) == ([1, 6, 7, 8, 2], 0)


def test_a_tokenizer_without_a_first_token_has_the_marker_in_front(tokenizer_file):
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    bare = Tokenizer.from_file(str(tokenizer_file))
    bare.post_processor = TemplateProcessing(single="$A [SEP]", pair=None, special_tokens=[("[SEP]", 2)])
    bare.save(str(tokenizer_file))
    tokenizer = TextTokenizer(tokenizer_file, TokenizerPolicy(max_length=10))
    assert tokenizer.first_special_id() is None
    assert ids(tokenizer, LateInteraction(query=TextSide(marker_id=Q)), "query", "one") == ([Q, 6, 2], 0)


def test_token_ids_and_pairs_have_no_side(tokenizer):
    for prompt in (Prompt(token_ids=(1, 6, 2)), Prompt(text="one", pair="two")):
        with pytest.raises(InputError, match="input_type applies to texts"):
            encode_texts(tokenizer, LateInteraction(), "query", [prompt], [None])


def test_an_input_type_is_query_or_document_and_needs_a_declaration():
    check_input_type(None, None)
    check_input_type("query", LateInteraction())
    with pytest.raises(InputError, match="input_type must be 'query' or 'document', got 'passage'"):
        check_input_type("passage", LateInteraction())
    with pytest.raises(InputError, match="declares nothing about queries and documents"):
        check_input_type("query", None)


def test_rows_that_do_not_count():
    late = LateInteraction(document=TextSide(skips=True), skiplist_token_ids=(7, 9))
    assert kept_rows(late, "document", [1, 6, 7, 9, 2]).tolist() == [True, True, False, False, True]
    assert kept_rows(late, "query", [1, 7, 2]).all()
    assert kept_rows(late, None, [1, 7, 2]).all()
    assert kept_rows(LateInteraction(skips_first=True), None, [1, 7, 2]).tolist() == [False, True, True]


def test_maxsim_by_hand():
    query = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    document = np.array([[2, 0], [0, 3]], np.float32)
    assert maxsim(query, document) == 2 + 3 + 3
    assert maxsim(query, document, "meanmaxsim") == pytest.approx(8 / 3)
    assert maxsim(query, -document) == 0 + 0 - 2, "the largest of negative products"
    assert maxsim(query, document[:0]) == maxsim(query[:0], document) == 0
