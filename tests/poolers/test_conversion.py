"""Which conversion a checkpoint gets: vLLM's algorithm, and sentence-transformers' modules beside it."""

from __future__ import annotations

import dataclasses

import pytest

from pool_export.poolers.conversion import resolve_convert
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.resolve import resolve

MEAN = ("Pooling", {"pooling_mode": "mean"})


@pytest.mark.parametrize(
    ("architecture", "convert"),
    [
        ("LlamaForTextEncoding", "embed"),
        ("JinaEmbeddingModel", "embed"),
        ("BertForSequenceClassification", "classify"),
        ("BertForTokenClassification", "classify"),
        ("FooClassificationModel", "classify"),
        ("LlamaForRewardModeling", "reward"),
        ("Foo2RewardModel", "reward"),
        ("Qwen2ForRewardModel", "reward"),
        ("BertModel", "embed"),
    ],
)
def test_a_pooling_architecture_converts_by_its_suffix(checkpoint, architecture, convert):
    for runner in ("auto", "pooling"):
        assert resolve_convert(checkpoint(architecture), runner=runner) == convert
    assert resolve(checkpoint(architecture)).convert == convert


@pytest.mark.parametrize(
    "architecture",
    [
        "Qwen3ForCausalLM",
        "T5ForConditionalGeneration",
        "InternVLChatModel",
        "GPT2LMHeadModel",
        "BertForMaskedLM",
        "BertForPreTraining",
        "BertForQuestionAnswering",
        "BertForMultipleChoice",
        "BertForNextSentencePrediction",
    ],
)
class TestOtherArchitectures:
    def test_auto_is_refused_with_the_way_out(self, checkpoint, architecture):
        with pytest.raises(
            ConfigError, match=f"{architecture} is not a pooling model by itself; pass .*--convert embed"
        ):
            resolve(checkpoint(architecture))

    def test_runner_pooling_makes_an_embedder(self, checkpoint, architecture):
        assert resolve_convert(checkpoint(architecture), runner="pooling") == "embed"

    def test_a_pooling_module_makes_an_embedder(self, sentence_transformer, architecture):
        spec = resolve(sentence_transformer([MEAN], architecture))
        assert (spec.convert, spec.pooling) == ("embed", ("MEAN",))

    def test_an_explicit_convert_wins(self, checkpoint, sentence_transformer, architecture):
        for convert in ("embed", "classify", "reward"):
            assert resolve_convert(checkpoint(architecture), convert=convert) == convert
            assert resolve_convert(sentence_transformer([MEAN], architecture), convert=convert) == convert


def test_modules_without_pooling_do_not_make_an_embedder(sentence_transformer):
    with pytest.raises(ConfigError, match="Qwen3ForCausalLM is not a pooling model by itself"):
        resolve(sentence_transformer([], "Qwen3ForCausalLM"))


def test_a_cross_encoder_made_of_modules_classifies(checkpoint, sentence_transformer):
    """sentence-transformers' reranker layout since 5.4: the last Dense gives scores."""
    dense = {"in_features": 32, "out_features": 1, "module_output_name": "scores"}
    plain = sentence_transformer([MEAN, ("Dense", dense)], model_type="bert")
    modular = dataclasses.replace(plain, st_config={"model_type": "CrossEncoder"})
    assert resolve_convert(modular) == "classify"
    for model_type in (None, "SentenceTransformer"):
        files = dataclasses.replace(plain, st_config={"model_type": model_type} if model_type else {})
        with pytest.raises(ConfigError, match=r"ends in 'scores', which convert=embed does not answer"):
            resolve(files)
    own_head = dataclasses.replace(checkpoint("BertForSequenceClassification"), st_config=modular.st_config)
    assert resolve(own_head).convert == "classify"


def test_a_cross_encoder_whose_modules_give_no_scores_is_no_embedder(sentence_transformer):
    """Read as one it would answer a vector of one number."""
    plain = sentence_transformer([MEAN, ("Dense", {"in_features": 32, "out_features": 1})], model_type="bert")
    with pytest.raises(ConfigError, match=r"says CrossEncoder and the head is in modules.json \(Transformer, Pooling"):
        resolve(dataclasses.replace(plain, st_config={"model_type": "CrossEncoder"}))


def test_a_classifier_stays_one_beside_a_pooling_module(sentence_transformer):
    spec = resolve(sentence_transformer([MEAN], "BertForSequenceClassification", model_type="bert"))
    assert (spec.convert, spec.pooling, spec.sources["pooling"]) == ("classify", ("CLS",), "architecture")


@pytest.mark.parametrize(
    "architecture", ["Wav2Vec2ForAudioClassification", "ViTForImageClassification", "VideoMAEForVideoClassification"]
)
@pytest.mark.parametrize("convert", ["auto", "embed", "classify", "reward"])
def test_what_is_not_about_text_is_refused_whatever_is_asked(checkpoint, architecture, convert):
    with pytest.raises(ConfigError, match=f"architecture {architecture} has no text pooling use"):
        resolve(checkpoint(architecture), convert=convert)


@pytest.mark.parametrize(
    "asked", [{"runner": "generate"}, {"convert": "none"}, {"runner": "generate", "convert": "embed"}]
)
def test_generation_is_refused(checkpoint, asked):
    with pytest.raises(ConfigError, match="asks for a generative model; this tool exports pooling models"):
        resolve(checkpoint("BertModel"), **asked)


def test_a_config_without_architectures_is_refused_in_words(checkpoint):
    with pytest.raises(ConfigError, match=r"\(no architecture in config.json\) is not a pooling model by itself"):
        resolve(checkpoint(None))
    assert resolve(checkpoint(None), convert="embed").convert == "embed"
