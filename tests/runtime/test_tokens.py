from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pool_export.models_zoo.texts import hard_texts, pairs, sentences
from pool_export.runtime.errors import BundleError, InputError
from pool_export.runtime.manifest import TokenizerPolicy
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.tokens import Encoded, TextTokenizer

PAD, CLS, SEP, UNK, STEP = range(5)
ZERO, ONE, TWO, THREE, FOUR = range(5, 10)
TEN_WORDS = "zero one two three four five six seven eight nine"


@pytest.fixture
def tokenizer(tokenizer_file: Path) -> Callable[..., TextTokenizer]:
    def make(max_length: int | None = None, **policy: Any) -> TextTokenizer:
        values = {"max_length": 10, "vocab_size": 17, **policy}
        return TextTokenizer(tokenizer_file, TokenizerPolicy(**values), max_length)

    return make


def encode(tokenizer: TextTokenizer, prompt: str | tuple[str, str] | list[int], limit: int | None = None) -> Encoded:
    if isinstance(prompt, list):
        made = Prompt(token_ids=tuple(prompt))
    else:
        text, pair = (prompt, None) if isinstance(prompt, str) else prompt
        made = Prompt(text=text, pair=pair)
    (encoded,) = tokenizer.encode([made], [limit])
    return encoded


# ------------------------------------------------------------------------------------------- texts and pairs


def test_a_text_gets_its_markers(tokenizer):
    encoded = encode(tokenizer(), "zero one")
    assert encoded.ids == [CLS, ZERO, ONE, SEP]
    assert encoded.type_ids == [0, 0, 0, 0]
    assert len(encoded) == 4


def test_more_characters_than_may_be_are_refused_before_any_work(tokenizer, monkeypatch):
    limited = tokenizer()
    limited.max_characters = 8
    assert encode(limited, "zero one").ids == [CLS, ZERO, ONE, SEP]
    assert encode(limited, [CLS] * 9).ids == [CLS] * 9
    monkeypatch.setattr(limited, "_encode_texts", None)
    for text in ("zero  one", ("zero", " one ")):
        with pytest.raises(InputError, match=r"a text has 9 characters, the limit is 8 \(max_text\)"):
            encode(limited, text, limit=3)


def test_a_pair_gets_segments(tokenizer):
    encoded = encode(tokenizer(), ("zero one", "two"))
    assert encoded.ids == [CLS, ZERO, ONE, SEP, TWO, SEP]
    assert encoded.type_ids == [0, 0, 0, 0, 1, 1]


def test_markers_can_be_left_out(tokenizer):
    (encoded,) = tokenizer().encode([Prompt(text="zero one")], [None], add_special_tokens=False)
    assert encoded.ids == [ZERO, ONE]


def test_a_batch_keeps_its_order_whatever_its_kinds(tokenizer):
    prompts = [Prompt(text="one"), Prompt(token_ids=(7,)), Prompt(text=TEN_WORDS), Prompt(text="zero", pair="two")]
    encoded = tokenizer().encode(prompts, [None, None, 4, -1])
    assert [item.ids for item in encoded] == [
        [CLS, ONE, SEP],
        [7],
        [CLS, ZERO, ONE, SEP],
        [CLS, ZERO, SEP, TWO, SEP],
    ]


def test_an_empty_text_is_its_markers(tokenizer):
    assert encode(tokenizer(), "").ids == [CLS, SEP]


def test_an_empty_text_without_markers_is_refused(tokenizer):
    with pytest.raises(InputError, match="The decoder prompt cannot be empty"):
        tokenizer().encode([Prompt(text="")], [None], add_special_tokens=False)


def test_half_a_surrogate_pair_is_refused_in_our_words(tokenizer):
    with pytest.raises(InputError, match="half a surrogate pair"):
        encode(tokenizer(), "zero \ud83d")
    with pytest.raises(InputError, match="half a surrogate pair"):
        encode(tokenizer(), ("zero", "\ude00"), -1)


def test_padding_and_truncation_stored_in_the_file_do_not_count(tokenizer_file: Path):
    stored = Tokenizer.from_file(str(tokenizer_file))
    stored.enable_padding(length=9)
    stored.enable_truncation(3)
    stored.save(str(tokenizer_file))
    tokenizer = TextTokenizer(tokenizer_file, TokenizerPolicy(max_length=10, vocab_size=17))
    assert encode(tokenizer, "zero one two").ids == [CLS, ZERO, ONE, TWO, SEP]


def test_counting_truncates_nothing(tokenizer):
    assert tokenizer().count(Prompt(text=TEN_WORDS)) == 12
    assert tokenizer().count(Prompt(text="zero", pair="one")) == 5
    assert tokenizer().count(Prompt(token_ids=(1, 2, 3))) == 3


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"tokenizer\.json cannot be read .*export the model again"):
        TextTokenizer(tmp_path / "tokenizer.json", TokenizerPolicy(max_length=8))


# ------------------------------------------------------------------------------------------------- length


def test_over_long_input_is_refused_with_both_numbers_and_the_remedy(tokenizer):
    assert len(encode(tokenizer(), "one " * 8)) == 10
    with pytest.raises(InputError) as caught:
        encode(tokenizer(), "one " * 9)
    assert str(caught.value) == (
        "This model's maximum context length is 10 tokens. However, your prompt contains 11 input tokens. "
        "Please reduce the length of the input prompt, or ask for truncation with truncate_prompt_tokens=-1."
    )


def test_over_long_token_ids_are_refused_too(tokenizer):
    with pytest.raises(InputError, match=r"maximum context length is 10 tokens\..* contains 11 input tokens"):
        encode(tokenizer(), [ONE] * 11)


def test_the_limit_can_be_lowered_and_not_raised(tokenizer):
    assert tokenizer(max_length=4).max_length == 4
    with pytest.raises(InputError, match="maximum context length is 4 tokens"):
        encode(tokenizer(max_length=4), "one two three")
    for wrong in (11, 0, -1):
        with pytest.raises(InputError, match=rf"max_model_len must be in \[1, 10\] for this bundle, got {wrong}"):
            tokenizer(max_length=wrong)


# --------------------------------------------------------------------------------------------- truncation


def test_minus_one_is_the_models_limit(tokenizer):
    assert encode(tokenizer(), TEN_WORDS, -1).ids == encode(tokenizer(), TEN_WORDS, 10).ids
    assert len(encode(tokenizer(), TEN_WORDS, -1)) == 10
    assert len(encode(tokenizer(max_length=6), TEN_WORDS, -1)) == 6


def test_truncation_keeps_the_head_and_the_markers(tokenizer):
    assert encode(tokenizer(), TEN_WORDS, 5).ids == [CLS, ZERO, ONE, TWO, SEP]


def test_a_short_text_is_not_changed_by_truncation(tokenizer):
    assert encode(tokenizer(), "zero one", 10).ids == [CLS, ZERO, ONE, SEP]
    assert encode(tokenizer(), "zero one", 4).ids == [CLS, ZERO, ONE, SEP]


def test_a_pair_loses_the_end_of_its_longer_text_first(tokenizer):
    encoded = encode(tokenizer(), ("zero one two three", "four"), 6)
    assert encoded.ids == [CLS, ZERO, ONE, SEP, FOUR, SEP]
    assert encoded.type_ids == [0, 0, 0, 0, 1, 1]


def test_more_than_the_models_limit_is_refused_in_the_seeds_words(tokenizer):
    with pytest.raises(InputError) as caught:
        encode(tokenizer(), "zero", 11)
    assert str(caught.value) == (
        "truncate_prompt_tokens value (11) is greater than max_model_len (10). "
        "Please, select a smaller truncation size."
    )


@pytest.mark.parametrize("limit", [-2, -100])
def test_below_minus_one_is_refused(tokenizer, limit: int):
    with pytest.raises(InputError, match=f"must be -1 .the model's limit. or more, got {limit}"):
        encode(tokenizer(), "zero", limit)


@pytest.mark.parametrize("limit", ["5", 5.0, True])
def test_a_limit_that_is_no_integer_is_refused(tokenizer, limit: Any):
    with pytest.raises(InputError, match="truncate_prompt_tokens must be an integer, got"):
        encode(tokenizer(), "zero", limit)


@pytest.mark.parametrize(("prompt", "markers"), [("zero", 2), (("zero", "one"), 3)])
def test_a_limit_that_leaves_no_text_is_refused_with_the_markers_counted(tokenizer, prompt: Any, markers: int):
    for limit in range(markers + 1):
        with pytest.raises(InputError, match=f"must be above {markers} .special tokens., got {limit}"):
            encode(tokenizer(), prompt, limit)
    assert len(encode(tokenizer(), prompt, markers + 1)) == markers + 1


def test_an_empty_text_fits_into_its_markers(tokenizer):
    assert encode(tokenizer(), "", 2).ids == [CLS, SEP]


def test_without_markers_one_token_may_be_kept_and_none_may_not(tokenizer):
    def kept(limit: int) -> list[int]:
        return tokenizer().encode([Prompt(text="zero one")], [limit], add_special_tokens=False)[0].ids

    assert kept(1) == [ZERO]
    with pytest.raises(InputError, match=r"must be above 0 \(special tokens\), got 0"):
        kept(0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*pairs(), *((text, None) for text in (*sentences(), *hard_texts()))]), st.integers(4, 60))
def test_truncation_is_what_tokenizers_does_itself(
    minilm_bundle_tokenizer: tuple[TextTokenizer, Tokenizer], texts: tuple[str, str | None], limit: int
):
    ours, theirs = minilm_bundle_tokenizer
    theirs.enable_truncation(limit, strategy="longest_first")
    want = theirs.encode(*texts)
    (got,) = ours.encode([Prompt(text=texts[0], pair=texts[1])], [limit])
    assert (got.ids, got.type_ids) == (want.ids, want.type_ids)


@pytest.fixture(scope="module")
def minilm_bundle_tokenizer(minilm_bundle: Path) -> tuple[TextTokenizer, Tokenizer]:
    path = minilm_bundle / "tokenizer.json"
    return TextTokenizer(path, TokenizerPolicy(max_length=256, vocab_size=30522)), Tokenizer.from_file(str(path))


def test_threads_that_truncate_differently_do_not_disturb_each_other(minilm_bundle_tokenizer):
    tokenizer, _ = minilm_bundle_tokenizer
    prompts = [Prompt(text=" ".join(sentences()[at : at + 8])) for at in range(0, 80, 8)]
    limits = [5, 17, 40, None, 64, 3, 100, 29]

    def ids(limit: int | None) -> list[list[int]]:
        return [item.ids for item in tokenizer.encode(prompts, [limit] * len(prompts))]

    serial = {limit: ids(limit) for limit in limits}
    with ThreadPoolExecutor(8) as pool:
        asked = limits * 12
        for limit, found in zip(asked, pool.map(ids, asked), strict=True):
            assert found == serial[limit]


# ----------------------------------------------------------------------------------------------- token ids


def test_token_ids_run_as_they_are(tokenizer):
    encoded = encode(tokenizer(), [FOUR, ONE, PAD])
    assert encoded.ids == [FOUR, ONE, PAD]
    assert encoded.type_ids == [0, 0, 0]


def test_token_ids_are_truncated_to_their_first(tokenizer):
    assert encode(tokenizer(), [5, 6, 7, 8], 3).ids == [5, 6, 7]
    assert encode(tokenizer(), list(range(12)), -1).ids == list(range(10))


@pytest.mark.parametrize("limit", [None, 0])
def test_no_token_is_refused(tokenizer, limit: int | None):
    with pytest.raises(InputError, match="The decoder prompt cannot be empty"):
        encode(tokenizer(), [] if limit is None else [5, 6], limit)


@pytest.mark.parametrize("bad", [17, 10**9, -1, -(2**63)])
def test_a_token_outside_the_vocabulary_is_named(tokenizer, bad: int):
    with pytest.raises(InputError, match=f"^Token id {bad} is out of vocabulary \\("):
        encode(tokenizer(), [5, bad, 6])
    assert encode(tokenizer(), [16]).ids == [16]


def test_a_bad_token_that_truncation_cuts_off_does_no_harm(tokenizer):
    assert encode(tokenizer(), [5, 6, 999], 2).ids == [5, 6]


def test_a_word_the_model_has_no_row_for_is_refused(tokenizer):
    """A tokenizer with more words than the model: the graph would read past its table."""
    assert encode(tokenizer(vocab_size=9), "three").ids == [CLS, THREE, SEP]
    with pytest.raises(InputError, match="Token id 9 is out of vocabulary"):
        encode(tokenizer(vocab_size=9), "four")


def test_a_manifest_without_a_vocabulary_size_takes_the_tokenizers(tokenizer):
    assert encode(tokenizer(vocab_size=0), [16]).ids == [16]
    with pytest.raises(InputError, match="Token id 17 is out of vocabulary"):
        encode(tokenizer(vocab_size=0), [17])
