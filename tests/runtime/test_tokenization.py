from __future__ import annotations

from typing import Any

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.tokenization import TOKENIZATION_KEYS, Tokenization, parse_tokenization

ONE = 6  # of the fake tokenizer; 1 and 2 are its markers


@pytest.mark.parametrize(
    ("kwargs", "read"),
    [
        (None, Tokenization()),
        ({}, Tokenization()),
        ({"truncate_prompt_tokens": 5}, Tokenization(truncation=5)),
        ({"truncation": True}, Tokenization(truncation=-1)),
        ({"truncation": "longest_first", "max_length": 7}, Tokenization(truncation=7)),
        ({"truncation": False}, Tokenization()),
        ({"truncation": "do_not_truncate", "truncate_prompt_tokens": 4}, Tokenization(truncation=4)),
        ({"truncation_side": "left"}, Tokenization(side="left")),
        ({"truncation_side": None}, Tokenization()),
        ({"padding": False, "pad_prompt_tokens": None}, Tokenization()),
        ({"padding": "do_not_pad"}, Tokenization()),
        ({"add_special_tokens": False, "do_lower_case": True}, Tokenization(add_special_tokens=False, lower_case=True)),
    ],
)
def test_what_can_be_honoured_is_read(kwargs: dict[str, Any] | None, read: Tokenization):
    assert parse_tokenization(kwargs) == read


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"stride": 3}, r"tokenization_kwargs \['stride'\] are not supported"),
        ({"trunction": True}, "are not supported; did you mean 'truncation'"),
        ({"stride": 3, "return_tensors": "pt"}, "use .*'truncation_side'"),
        ({"padding": "max_length"}, "padding and pad_prompt_tokens are not supported: vLLM would pool the pad tokens"),
        ({"padding": True}, "padding and pad_prompt_tokens are not supported"),
        ({"pad_prompt_tokens": 8}, "padding and pad_prompt_tokens are not supported"),
        ({"max_length": 8}, "max_length needs truncation=True; to refuse longer texts, open"),
        (
            {"truncation": "only_first"},
            "truncation must be true, false, 'longest_first' or 'do_not_truncate', got 'onl",
        ),
        ({"truncation": True, "truncate_prompt_tokens": 3}, "say the same thing; keep one of them"),
        ({"truncation_side": "middle"}, "truncation_side must be one of left, right, got 'middle'"),
        ({"do_lower_case": "yes"}, "do_lower_case must be true or false, got 'yes'"),
        ({"add_special_tokens": 1}, "add_special_tokens must be true or false, got 1"),
    ],
)
def test_the_rest_is_refused_by_name(kwargs: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        parse_tokenization(kwargs)


def test_the_keys_are_vllms():
    assert set(TOKENIZATION_KEYS) == {
        "truncate_prompt_tokens", "truncation_side", "max_length", "truncation", "padding", "pad_prompt_tokens",
        "add_special_tokens", "do_lower_case",
    }  # fmt: skip


def ran(llm: Any, text: Any, **kwargs: Any) -> list[int]:
    (found,) = llm.embed(text, tokenization_kwargs=kwargs)
    return found.prompt_token_ids


def test_either_end_can_be_cut_and_the_markers_stay(fake_llm):
    llm = fake_llm("embed")
    text = "one two three four five six seven eight nine ten"
    assert ran(llm, text, truncation=True, max_length=4) == [1, ONE, ONE + 1, 2]
    assert ran(llm, text, truncation=True, max_length=4, truncation_side="left") == [1, ONE + 8, ONE + 9, 2]
    assert ran(llm, text, truncation=True)[1:3] == [ONE, ONE + 1]
    assert ran(llm, [5, 6, 7, 8], truncate_prompt_tokens=2) == [5, 6]
    assert ran(llm, [5, 6, 7, 8], truncate_prompt_tokens=2, truncation_side="left") == [7, 8]


def test_lower_casing_is_done_before_the_tokenizer(fake_llm):
    assert ran(fake_llm("embed"), "ONE", do_lower_case=True) == [1, ONE, 2]
    assert ran(fake_llm("embed"), "ONE") == [1, 3, 2]
    cross = fake_llm("classify", num_labels=1, labels=("x",), activation="sigmoid")
    (found,) = cross.score("ONE", "Two", tokenization_kwargs={"do_lower_case": True})
    assert found.prompt_token_ids == [1, ONE, 2, ONE + 1, 2]


def test_the_other_side_is_one_tokenizers_setting_not_the_next_calls(fake_llm):
    tokenizer = fake_llm("embed").engine.tokenizer
    prompt = Prompt(text="one two three")
    (left,), (right,) = (tokenizer.encode([prompt], [3], side=side) for side in ("left", "right"))
    assert (left.ids, right.ids) == ([1, ONE + 2, 2], [1, ONE, 2])
