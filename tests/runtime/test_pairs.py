from __future__ import annotations

from typing import Any

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.manifest import TokenizerPolicy
from pool_export.runtime.pairs import PairOptions, template_of, templated_prompt, trim, trimmed
from pool_export.runtime.params import PoolingParams
from pool_export.runtime.tokens import TextTokenizer

# Specials around: [CLS] one {query} two {document} three [SEP]
TEMPLATE = "one {{ messages[0].content }} two {{ messages[1].content }} three"
INSTRUCTED = "{{ instruction }} " + TEMPLATE
CROSS = {"num_labels": 1, "labels": ("x",), "activation": "sigmoid"}


@pytest.fixture
def tokenizer(tokenizer_file) -> TextTokenizer:
    return TextTokenizer(tokenizer_file, TokenizerPolicy(max_length=10, score_template=TEMPLATE))


@pytest.fixture
def scorer(fake_llm):
    return fake_llm("classify", policy={"score_template": TEMPLATE}, **CROSS)


def ids(llm, *pair: Any, **options: Any) -> list[int]:
    (found,) = llm.score(*pair, **options)
    return found.prompt_token_ids


WORDS = {word: index for index, word in enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven"), 5)}


def tokens(words: str) -> list[int]:
    return [1, *(WORDS[word] for word in words.split()), 2]


def test_the_bundles_template_makes_one_text_of_a_pair_with_special_tokens(scorer):
    assert ids(scorer, "five", "six seven") == tokens("one five two six seven three")


def test_a_calls_own_template_comes_first(scorer):
    other = "{{ messages[1].content }} zero {{ messages[0].content }}"
    assert ids(scorer, "five", "six", chat_template=other) == tokens("six zero five")


def test_an_instruction_reaches_the_template(scorer):
    assert ids(scorer, "five", "six", chat_template=INSTRUCTED, instruction="four") == tokens(
        "four one five two six three"
    )
    values = {"instruction": "seven"}
    found = ids(scorer, "five", "six", chat_template=INSTRUCTED, instruction="four", chat_template_kwargs=values)
    assert found == tokens("seven one five two six three")


def test_an_over_long_pair_is_refused_without_truncation(scorer):
    with pytest.raises(InputError, match="maximum context length is 10 tokens"):
        scorer.score("five", "six six six six six")


@pytest.mark.parametrize("limit", [{"truncate_prompt_tokens": -1}, {"tokenization_kwargs": {"truncation": True}}])
def test_truncation_shortens_the_document_and_keeps_the_templates_tail(scorer, limit: dict[str, Any]):
    assert ids(scorer, "five", "six " * 50, **limit) == tokens("one five two six six six six three")


def test_the_parameters_truncation_counts_too(scorer):
    params = PoolingParams(truncate_prompt_tokens=8)
    assert ids(scorer, "five", "six " * 50, pooling_params=params) == tokens("one five two six six three")


def test_a_query_that_leaves_no_room_for_the_document_is_refused(scorer):
    with pytest.raises(InputError, match="leave no room for the document: without it they take 11 of 10 tokens"):
        scorer.score("five five five five five five", "six", truncate_prompt_tokens=-1)


def test_each_side_can_be_cut_beforehand(scorer):
    found = ids(scorer, "five five five", "six six six", max_tokens_per_query=1, max_tokens_per_doc=2)
    assert found == tokens("one five two six six three")


def test_plain_pairs_are_cut_beforehand_too(fake_llm):
    llm = fake_llm("classify", **CROSS)
    assert ids(llm, "five five five", "six six six", max_tokens_per_query=1, max_tokens_per_doc=2) == [
        1, WORDS["five"], 2, WORDS["six"], WORDS["six"], 2,
    ]  # fmt: skip
    embedder = fake_llm("embed")
    assert ids(embedder, "five five", "six", max_tokens_per_query=1) == [1, 10, 2, 0, 1, 11, 2]


@pytest.mark.parametrize("limit", [-1, 10, True, "3", None])
def test_a_limit_of_one_side_is_below_the_models(scorer, limit: Any):
    with pytest.raises(InputError, match=r"max_tokens_per_doc must be in \[0, 9\]"):
        scorer.score("five", "six", max_tokens_per_doc=limit)


def test_trimming_cuts_the_text_itself(tokenizer):
    assert trim("five  six\tseven", tokenizer, 2) == "five  six"
    assert trim("five", tokenizer, 3) == "five"
    assert trimmed(["five six"], tokenizer, "x", 0) == ["five six"]


@pytest.mark.parametrize(
    ("convert", "spec", "options", "message"),
    [
        ("classify", CROSS, {"instruction": "x"}, "instruction was given, and this model has no score template"),
        ("classify", CROSS, {"chat_template_kwargs": {}}, "chat_template_kwargs was given, and this model has no"),
        ("classify", CROSS, {"chat_template": 3}, "chat_template must be the text of a jinja template, got 3"),
        ("classify", CROSS, {"query_prompt_name": "q"}, "query_prompt_name was given, and a cross-encoder has no prom"),
        ("embed", {}, {"chat_template": TEMPLATE}, "chat_template was given, and an embedding model reads its two"),
        ("embed", {}, {"instruction": "x"}, "instruction was given, and an embedding model"),
    ],
)
def test_an_option_the_model_cannot_use_is_refused(fake_llm, convert, spec, options, message):
    with pytest.raises(InputError, match=message):
        fake_llm(convert, **spec).score("five", "six", **options)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"truncation_side": "left"}, "truncation_side='left' would cut the head of the score template"),
        ({"do_lower_case": True}, "do_lower_case would lower-case the score template too"),
    ],
)
def test_what_would_spoil_the_template_is_refused(scorer, kwargs: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        scorer.score("five", "six", tokenization_kwargs=kwargs)


def test_without_any_template_there_is_none(tokenizer_file):
    plain = TextTokenizer(tokenizer_file, TokenizerPolicy(max_length=10))
    assert template_of(plain, PairOptions()) is None


def test_a_fitted_pair_is_as_long_as_it_may_be(tokenizer):
    template, values = template_of(tokenizer, PairOptions())  # type: ignore[misc]
    for limit in range(7, 11):
        prompt = templated_prompt("five", "six " * 30, tokenizer, template, values, limit)
        assert tokenizer.count(prompt) == limit
        assert prompt.text.endswith(" three")
