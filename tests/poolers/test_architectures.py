from __future__ import annotations

import pytest

from pool_export.poolers.architectures import FAMILY_POOLING, HOOKS, OFFSET_POSITION_FAMILIES, match_suffix
from pool_export.poolers.spec import POOLING_TYPES, PoolingSpec


@pytest.mark.parametrize(
    ("architecture", "row"),
    [
        ("Qwen3ForCausalLM", ("generate", "none")),
        ("T5ForConditionalGeneration", ("generate", "none")),
        ("InternVLChatModel", ("generate", "none")),
        ("GPT2LMHeadModel", ("generate", "none")),
        ("LlamaForTextEncoding", ("pooling", "embed")),
        ("JinaEmbeddingModel", ("pooling", "embed")),
        ("BertForSequenceClassification", ("pooling", "classify")),
        ("BertForTokenClassification", ("pooling", "classify")),
        ("FooClassificationModel", ("pooling", "classify")),
        ("LlamaForRewardModeling", ("pooling", "reward")),
        ("Qwen2ForRewardModel", ("pooling", "reward")),
        ("BertModel", ("pooling", "embed")),
        ("XLMRobertaModel", ("pooling", "embed")),
    ],
)
def test_every_suffix_row(architecture, row):
    assert match_suffix(architecture) == row


@pytest.mark.parametrize(
    ("architecture", "row"),
    [
        ("Foo2RewardModel", ("pooling", "reward")),
        ("Qwen2ForProcessRewardModel", ("pooling", "reward")),
        ("FooChatModel", ("generate", "none")),
        ("FooLMHeadModel", ("generate", "none")),
        ("FooEmbeddingModel", ("pooling", "embed")),
        ("FooClassificationModel", ("pooling", "classify")),
    ],
)
def test_a_longer_suffix_wins_over_the_catch_all_model(architecture, row):
    assert match_suffix(architecture) == row


@pytest.mark.parametrize(
    "architecture", ["BertForMaskedLM", "BertForQuestionAnswering", "ForCausalLMHead", "Models", ""]
)
def test_an_unknown_suffix_matches_nothing(architecture):
    assert match_suffix(architecture) is None


@pytest.mark.parametrize(
    ("model_type", "pooling"),
    [("bert", "CLS"), ("modernbert", "CLS"), ("xlm-roberta", "CLS"), ("new", "CLS"), ("t5", "MEAN"), ("umt5", "MEAN")],
)
def test_encoders_pool_their_first_token_and_t5_the_mean(model_type, pooling):
    assert FAMILY_POOLING[model_type] == pooling


def test_xlnet_ends_a_text_with_its_cls_token():
    assert FAMILY_POOLING["xlnet"] == "LAST"


@pytest.mark.parametrize("model_type", ["qwen3", "llama", "gpt2", "gemma3_text", "modernbert-decoder"])
def test_decoders_are_in_no_family(model_type):
    assert model_type not in FAMILY_POOLING


def test_families_with_offset_positions_are_known_encoders():
    assert set(FAMILY_POOLING) >= OFFSET_POSITION_FAMILIES
    assert "bert" not in OFFSET_POSITION_FAMILIES


def test_hooks_set_only_fields_of_a_head():
    fields = {*PoolingSpec.__dataclass_fields__, "pooling_type"}
    for architecture, hook in HOOKS.items():
        assert set(hook) <= fields, architecture
        assert hook.get("pooling_type", "LAST") in POOLING_TYPES
