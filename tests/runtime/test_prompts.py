from __future__ import annotations

from typing import Any

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.prompts import Prompt, PromptTypeError, parse_prompts, parse_texts

TEXT = Prompt(text="hello")
IDS = Prompt(token_ids=(1, 2, 3))


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("hello", [TEXT]),
        ("", [Prompt(text="")]),
        (["hello"], [TEXT]),
        (("hello", "hello"), [TEXT, TEXT]),
        ([1, 2, 3], [IDS]),
        ((1, 2, 3), [IDS]),
        ([[1, 2, 3], [1, 2, 3]], [IDS, IDS]),
        ([(1, 2, 3)], [IDS]),
        ([[]], [Prompt(token_ids=())]),
        ({"prompt": "hello"}, [TEXT]),
        ({"prompt_token_ids": [1, 2, 3]}, [IDS]),
        ({"prompt": "shown only", "prompt_token_ids": (1, 2, 3)}, [IDS]),
        ({"prompt": "hello", "cache_salt": "s"}, [TEXT]),
        (["hello", [1, 2, 3], {"prompt": "hello"}, {"prompt_token_ids": [1, 2, 3]}], [TEXT, IDS, TEXT, IDS]),
    ],
)
def test_every_form_becomes_prompts_in_order(given: Any, parsed: list[Prompt]):
    assert parse_prompts(given) == parsed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "Prompt should be a string, list of tokens, or dictionary, got int"),
        (None, "Prompt should be a string, list of tokens, or dictionary, got NoneType"),
        (["hello", 5], "Prompt should be a string, list of tokens, or dictionary, got int"),
        ((text for text in "ab"), "Prompt should be a string, list of tokens, or dictionary, got generator"),
        ([1, "hello"], "Prompt should be a string, list of tokens, or dictionary, got int"),
        ([[1, 2.5]], "Token prompt should be a list of integers"),
        ([[True, False]], "Token prompt should be a list of integers"),
        ([["a", "b"]], "Token prompt should be a list of integers"),
        ({"prompt_token_ids": 5}, "Token prompt should be a list of integers"),
        ({"prompt_token_ids": "12"}, "Token prompt should be a list of integers"),
        ({"prompt_token_ids": ["1"]}, "Token prompt should be a list of integers"),
        ({"prompt": 5}, "Prompt text should be a string"),
        ({}, r"Prompt dictionary must contain `prompt` or `prompt_token_ids`, got keys \[\]"),
        ({"text": "x", 1: 2}, r"must contain `prompt` or `prompt_token_ids`, got keys \['1', 'text'\]"),
        ({"prompt_embeds": []}, "must contain `prompt` or `prompt_token_ids`"),
    ],
)
def test_a_wrong_type_is_a_type_error_with_vllms_sentence(given: Any, message: str):
    with pytest.raises(PromptTypeError, match=message) as caught:
        parse_prompts(given)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("given", [[], ()])
def test_an_empty_list_is_refused(given: Any):
    with pytest.raises(InputError, match="You must pass at least one prompt"):
        parse_prompts(given)


def test_an_image_is_taken_along_and_a_wrong_one_refused():
    (prompt,) = parse_prompts({"prompt": "", "multi_modal_data": {"image": "photo.jpg"}})
    assert (prompt.text, prompt.image) == ("", "photo.jpg")
    assert parse_prompts({"prompt": "hello", "multi_modal_data": None}) == [TEXT]
    with pytest.raises(InputError, match="image should be a PIL image"):
        parse_prompts({"prompt": "what is it?", "multi_modal_data": {"image": object()}})
    with pytest.raises(PromptTypeError, match="must contain `prompt`"):
        parse_prompts({"text": "x", "multi_modal_data": {"image": "photo.jpg"}})


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ({"prompt": "a"}, ["a"]),
        ([{"prompt": "a"}, {"text": "b"}, "c"], ["a", "b", "c"]),
        ((text for text in ("a", "b")), ["a", "b"]),
    ],
)
def test_one_side_of_score_is_texts(given: Any, texts: list[str]):
    assert parse_texts(given, "text") == texts


@pytest.mark.parametrize("what", ["text", "text_pair"])
def test_an_empty_side_of_score_is_named(what: str):
    with pytest.raises(InputError, match=f"At least one {what} element must be given"):
        parse_texts([], what)


@pytest.mark.parametrize("given", [5, None, [5], [1, 2, 3], [None], {"other": "a"}, {"prompt": 1}, [["a"]]])
def test_a_side_of_score_that_is_no_text_is_refused_by_name(given: Any):
    with pytest.raises(PromptTypeError, match="text_pair should be a string"):
        parse_texts(given, "text_pair")


def test_a_long_wrong_value_is_shown_short():
    with pytest.raises(PromptTypeError) as caught:
        parse_texts([list(range(1000))], "text")
    assert len(str(caught.value)) < 150
