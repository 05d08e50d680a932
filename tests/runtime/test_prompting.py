from __future__ import annotations

from typing import Any

import pytest

from pool_export.poolers.spec import PoolingSpec
from pool_export.runtime.errors import InputError
from pool_export.runtime.manifest import TokenizerPolicy
from pool_export.runtime.prompting import resolve_prompt, with_prompt
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.tokens import TextTokenizer

NAMED = {"query": "one two ", "document": "three ", "none": ""}
POLICY: dict[str, Any] = {"prompts": NAMED, "default_prompt_name": "query"}
# Words of the fake tokenizer, from 5 on; 1 and 2 are its markers.
ZERO, ONE, TWO, THREE, FOUR = range(5, 10)


def policy(**changes: Any) -> TokenizerPolicy:
    return TokenizerPolicy(max_length=10, **{**POLICY, **changes})


def spec(**changes: Any) -> PoolingSpec:
    return PoolingSpec(convert="embed", pooling=("MEAN",), hidden_size=6, **changes)


@pytest.mark.parametrize(
    ("prompt", "name", "text"),
    [
        (None, None, "one two "),
        (None, "document", "three "),
        (None, "none", ""),
        ("mine ", None, "mine "),
        ("mine ", "document", "mine "),
        ("mine ", "no such name", "mine "),
        ("", None, ""),
    ],
)
def test_a_prompt_wins_over_a_name_over_the_default(prompt: str | None, name: str | None, text: str):
    assert resolve_prompt(policy(), prompt, name) == text


def test_without_a_default_there_is_no_prompt():
    assert resolve_prompt(policy(default_prompt_name=None), None, None) == ""
    assert resolve_prompt(policy(prompts={}), None, None) == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prompt_name": "qery"},
            r"prompt_name 'qery' is not one of \['query', 'document', 'none'\]; did you mean 'qu",
        ),
        ({"prompt_name": "x", "prompts": {}}, "this model has no prompts; use prompt=TEXT"),
        ({"prompt": 3}, "prompt must be a string, got 3"),
    ],
)
def test_a_wrong_prompt_is_refused(options: dict[str, Any], message: str):
    prompts = {key: options.pop(key) for key in ("prompts",) if key in options}
    with pytest.raises(InputError, match=message):
        resolve_prompt(policy(**prompts), options.get("prompt"), options.get("prompt_name"))


def test_token_ids_run_as_they_are_and_refuse_a_prompt_asked_for():
    ids = Prompt(token_ids=(1, 2))
    assert with_prompt([ids, Prompt(text="a")], policy(), spec()) == [ids, Prompt(text="one two a")]
    assert with_prompt([ids], policy(), spec(), prompt="") == [ids]
    for options in ({"prompt": "x"}, {"prompt_name": "document"}):
        with pytest.raises(InputError, match="a prompt cannot be put before token ids"):
            with_prompt([ids], policy(), spec(), **options)


def test_a_classifier_has_no_prompts():
    classifier = PoolingSpec(convert="classify", pooling=("CLS",), hidden_size=6, num_labels=1)
    assert with_prompt([Prompt(text="a")], policy(), classifier) == [Prompt(text="a")]
    with pytest.raises(InputError, match="prompts are for embedding models; this one was exported with convert=class"):
        with_prompt([Prompt(text="a")], policy(), classifier, prompt="x")


def test_the_prompt_is_marked_where_the_head_leaves_it_out():
    (marked,) = with_prompt([Prompt(text="four")], policy(), spec(include_prompt=False))
    assert marked == Prompt(text="one two four", unpooled="one two ")


# ----------------------------------------------------------------------------------------------- through LLM


def ran(outputs: list[Any]) -> list[list[int]]:
    return [item.prompt_token_ids for item in outputs]


def test_embed_and_encode_put_the_prompt_before_every_text(fake_llm):
    llm = fake_llm("embed", policy=POLICY)
    assert ran(llm.embed(["zero", "four"])) == [[1, ONE, TWO, ZERO, 2], [1, ONE, TWO, FOUR, 2]]
    assert ran(llm.embed("zero", prompt_name="document")) == [[1, THREE, ZERO, 2]]
    assert ran(llm.embed("zero", prompt="")) == [[1, ZERO, 2]]
    for task in ("embed", "token_embed", "encode"):
        assert ran(llm.encode("zero", pooling_task=task, prompt="four ")) == [[1, FOUR, ZERO, 2]]


def test_the_two_sides_of_a_score_have_prompts_of_their_own(fake_llm):
    llm = fake_llm("embed", policy=POLICY)
    assert ran(llm.score("zero", "four")) == [[1, ONE, TWO, ZERO, 2, 0, 1, ONE, TWO, FOUR, 2]]
    found = llm.score("zero", "four", query_prompt_name="none", document_prompt_name="document")
    assert ran(found) == [[1, ZERO, 2, 0, 1, THREE, FOUR, 2]]


# ----------------------------------------------------------------------------------- prompts left out of pooling


@pytest.fixture
def tokenizer(tokenizer_file) -> TextTokenizer:
    return TextTokenizer(tokenizer_file, policy())


def test_a_prompts_length_is_its_tokens_without_the_marker_that_ends_them(tokenizer):
    assert tokenizer.prompt_length("") == 0
    assert tokenizer.prompt_length("one two ") == 3
    assert tokenizer.prompt_length("one two ", special=False) == 2
    assert tokenizer.prompt_length("one " * 50) == 9, "cut at the model's limit, as sentence-transformers does"


def test_a_text_carries_the_number_of_tokens_left_out(tokenizer):
    prompts = [Prompt(text="one two four", unpooled="one two "), Prompt(text="one two four")]
    assert [item.prompt_length for item in tokenizer.encode(prompts, [None, None])] == [3, 0]


def test_nothing_left_to_pool_is_refused(tokenizer):
    prompt = Prompt(text="one two four", unpooled="one two ")
    with pytest.raises(InputError, match="nothing is left to pool: all 3 tokens belong to the prompt"):
        tokenizer.encode([prompt], [3])


def test_lower_casing_reaches_the_prompt_too(fake_llm):
    llm = fake_llm("embed", policy={"prompts": {"q": "ONE "}})
    kwargs = {"do_lower_case": True}
    assert ran(llm.embed("Zero", prompt_name="q", tokenization_kwargs=kwargs)) == [[1, ONE, ZERO, 2]]
