"""The rules of vLLM's page on pooling models, row by row; `sources` says which level won."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_export.poolers.architectures import FAMILY_POOLING, HOOKS
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.poolers.resolve import resolve

MEAN = ("Pooling", {"pooling_mode": "mean"})
NORMALIZE = ("Normalize", {})


def config(**fields):
    return PoolerConfig.parse(fields)


# ---------------------------------------------------------------------------------------------- precedence


def test_pooling_climbs_the_four_levels(checkpoint, sentence_transformer):
    levels = [
        (resolve(checkpoint("Qwen3ForCausalLM"), convert="embed"), "LAST", "convert_default"),
        (resolve(checkpoint("BertModel", model_type="bert")), "CLS", "architecture"),
        (resolve(sentence_transformer([MEAN], model_type="bert")), "MEAN", "sentence_transformers"),
        (
            resolve(sentence_transformer([MEAN], model_type="bert"), pooler_config=config(pooling_type="max")),
            "MAX",
            "user",
        ),
    ]
    for spec, kind, source in levels:
        assert (spec.pooling, spec.sources["pooling"]) == ((kind,), source)


def test_the_activation_switch_climbs_the_four_levels(checkpoint, sentence_transformer):
    hooked = checkpoint("JambaForSequenceClassification")
    levels = [
        (resolve(checkpoint()), True, "convert_default"),
        (resolve(hooked), False, "architecture"),
        (resolve(sentence_transformer([MEAN])), False, "sentence_transformers"),
        (resolve(sentence_transformer([MEAN, NORMALIZE])), True, "sentence_transformers"),
        (resolve(sentence_transformer([MEAN]), pooler_config=config(normalize=True)), True, "user"),
        (resolve(sentence_transformer([MEAN, NORMALIZE]), pooler_config=config(normalize=False)), False, "user"),
        (resolve(hooked, pooler_config=config(activation=True)), True, "user"),
    ]
    for spec, value, source in levels:
        assert (spec.use_activation, spec.sources["use_activation"]) == (value, source)


@pytest.mark.parametrize(
    ("convert", "pooling", "activation", "use_activation"),
    [
        ("embed", ("LAST",), "normalize", True),
        ("classify", ("LAST",), "softmax", True),
        ("reward", ("ALL",), "identity", False),
    ],
)
def test_the_defaults_of_a_converted_model(checkpoint, convert, pooling, activation, use_activation):
    """The seed page's table: reward ALL without softmax, embed LAST normalised, classify LAST with softmax."""
    spec = resolve(checkpoint("LlamaForCausalLM", model_type="llama"), convert=convert)
    assert (spec.pooling, spec.activation, spec.use_activation) == (pooling, activation, use_activation)
    assert {spec.sources[name] for name in ("pooling", "activation", "use_activation")} == {"convert_default"}


CHOICES = {"pooling", "use_activation", "activation", "dimensions", "logit_mean", "logit_sigma", "step_tag_id"}
CHOICES |= {"returned_token_ids"}


@pytest.mark.parametrize(
    ("convert", "own"),
    [
        ("embed", {"steps", "token_steps", "matryoshka_dimensions"}),
        ("classify", {"labels", "pair_format"}),
        ("reward", set()),
    ],
)
def test_every_choice_carries_its_source(checkpoint, convert, own):
    spec = resolve(checkpoint("LlamaForCausalLM"), convert=convert)
    assert set(spec.sources) == CHOICES | own
    assert set(spec.sources) <= {field.name for field in dataclasses.fields(spec)}
    assert set(spec.sources.values()) == {"convert_default"}


# --------------------------------------------------------------------------------- what the architecture says


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "modernbert", "distilbert", "t5", "new"])
def test_a_family_has_its_pooling_type(checkpoint, model_type):
    spec = resolve(checkpoint("FooModel", model_type=model_type))
    assert (spec.pooling, spec.sources["pooling"]) == ((FAMILY_POOLING[model_type],), "architecture")


def test_an_encoder_made_causal_is_pooled_at_its_last_token(checkpoint):
    spec = resolve(checkpoint("BertModel", model_type="bert", is_decoder=True))
    assert (spec.pooling, spec.sources["pooling"]) == (("LAST",), "convert_default")
    assert resolve(checkpoint("BertModel", model_type="bert", is_decoder=False)).pooling == ("CLS",)


def test_token_classification_answers_every_token(checkpoint):
    spec = resolve(checkpoint("BertForTokenClassification", model_type="bert"))
    assert (spec.pooling, spec.tasks) == (("ALL",), ("token_classify",))


def test_the_backbone_of_a_token_classifier_embeds_like_its_family(checkpoint):
    spec = resolve(checkpoint("BertForTokenClassification", model_type="bert"), convert="embed")
    assert (spec.pooling, spec.sources["pooling"]) == (("CLS",), "architecture")


@pytest.mark.parametrize(("stated", "pooling"), [("cls", "CLS"), ("mean", "MEAN"), ("bos", "CLS")])
def test_modernbert_classifies_by_its_own_key_and_embeds_by_its_family(checkpoint, stated, pooling):
    fields = {"model_type": "modernbert", "classifier_pooling": stated}
    assert resolve(checkpoint("ModernBertForSequenceClassification", **fields)).pooling == (pooling,)
    assert resolve(checkpoint("ModernBertModel", **fields)).pooling == ("CLS",)
    assert resolve(checkpoint("ModernBertForTokenClassification", **fields)).pooling == ("ALL",)


def test_a_classifier_pooling_without_counterpart_is_refused_by_key(checkpoint):
    for architecture, stated in (("ModernBertForSequenceClassification", "late"), ("EuroBertModel", "median")):
        files = checkpoint(architecture, classifier_pooling=stated)
        with pytest.raises(
            ConfigError, match=f"config.json, key 'classifier_pooling': unknown pooling type '{stated}'"
        ):
            resolve(files, convert="classify")
        assert resolve(files, convert="embed").convert == "embed"


@pytest.mark.parametrize("stated", [{"classifier_pooling": "late"}, {"clf_pooling": "late"}, {}], ids=str)
def test_eurobert_averages_the_logits_of_its_tokens(checkpoint, stated):
    files = checkpoint("EuroBertForSequenceClassification", model_type="eurobert", **stated)
    spec = resolve(files)
    assert (spec.pooling, spec.pools_logits, spec.sources["pooling"]) == (("MEAN",), True, "architecture")
    for asked in ("MEAN", "CLS"):  # a user's pooling is what the head pools, as everywhere
        spec = resolve(files, pooler_config=config(pooling_type=asked))
        assert (spec.pooling, spec.pools_logits) == ((asked,), False)
    assert not resolve(files, convert="embed").pools_logits


@pytest.mark.parametrize(("stated", "pooling"), [("bos", "CLS"), ("mean", "MEAN")])
def test_eurobert_may_pool_its_states(checkpoint, stated, pooling):
    for key in ("classifier_pooling", "clf_pooling"):
        files = checkpoint("EuroBertForSequenceClassification", model_type="eurobert", **{key: stated})
        spec = resolve(files)
        assert (spec.pooling, spec.pools_logits) == ((pooling,), False)


@pytest.mark.parametrize(("stated", "pooling"), [("avg", "MEAN"), ("cls", "CLS"), ("last", "LAST")])
def test_llama_bidirectional_names_its_pooling(checkpoint, stated, pooling):
    for architecture in ("LlamaBidirectionalModel", "LlamaBidirectionalForSequenceClassification"):
        spec = resolve(checkpoint(architecture, model_type="llama_bidirec", pooling=stated))
        assert (spec.pooling, spec.sources["pooling"]) == ((pooling,), "architecture")


def test_llama_bidirectional_without_a_pooling_is_refused(checkpoint):
    with pytest.raises(ConfigError, match=r"config.json, key 'pooling': pooling type must be a string, got NoneType"):
        resolve(checkpoint("LlamaBidirectionalModel"))


ONE_REWARD = ("reward", {"pooling": ("ALL",), "num_labels": 1, "use_activation": False})

HOOKED = {
    "EurusRewardModel": ONE_REWARD,
    "InternLM2ForRewardModel": ONE_REWARD,
    "LlamaRewardModel": ONE_REWARD,
    "JambaForSequenceClassification": ("classify", {"use_activation": False}),
    "Qwen2ForRewardModel": ONE_REWARD,
    "Qwen2ForProcessRewardModel": ("reward", {"pooling": ("STEP",), "step_tag_id": 151651, "num_labels": 2}),
    "JinaVLForRanking": ("classify", {"logit_mean": 2.65, "labels": ("LABEL_0",), "activation": "sigmoid"}),
}


@pytest.mark.parametrize("architecture", HOOKS)
def test_every_hook(checkpoint, architecture):
    convert, fields = HOOKED[architecture]
    spec = resolve(checkpoint(architecture, model_type="qwen2"), convert=convert)
    assert {name: getattr(spec, name) for name in fields} == fields
    renamed = {"pooling_type": "pooling", "num_labels": "labels"}
    from_architecture = {name for name, source in spec.sources.items() if source == "architecture"}
    assert from_architecture == {renamed.get(name, name) for name in HOOKS[architecture]}


@pytest.mark.parametrize("architecture", HOOKS)
def test_an_embedding_leaves_a_head_and_its_hook_out(checkpoint, architecture):
    spec = resolve(checkpoint(architecture, model_type="qwen2"), convert="embed")
    assert (spec.pooling, spec.use_activation, spec.logit_mean, spec.step_tag_id) == (("LAST",), True, None, None)
    assert set(spec.sources.values()) == {"convert_default"}


def test_a_user_may_turn_a_step_model_into_an_all_model(checkpoint):
    spec = resolve(checkpoint("Qwen2ForProcessRewardModel"), pooler_config=config(pooling_type="ALL"))
    assert (spec.pooling, spec.step_tag_id) == (("ALL",), None)


def test_a_user_may_name_another_step(checkpoint):
    spec = resolve(
        checkpoint("Qwen2ForProcessRewardModel"), pooler_config=config(step_tag_id=7, returned_token_ids=[1])
    )
    assert (spec.pooling, spec.step_tag_id, spec.returned_token_ids) == (("STEP",), 7, (1,))
    assert spec.sources["step_tag_id"] == spec.sources["returned_token_ids"] == "user"


# ----------------------------------------------------------------------------------- sentence-transformers


def test_both_dialects_concatenate(sentence_transformer):
    old = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
    spec = resolve(sentence_transformer([("Pooling", old)]))
    assert (spec.pooling, spec.embedding_size) == (("CLS", "MEAN"), 64)
    spec = resolve(sentence_transformer([("Pooling", {"pooling_mode": ["mean", "cls", "lasttoken"]})]))
    assert (spec.pooling, spec.embedding_size) == (("MEAN", "CLS", "LAST"), 96)


def test_a_plain_checkpoint_is_normalised_and_one_with_modules_says_so(checkpoint, sentence_transformer):
    assert resolve(checkpoint()).use_activation
    assert not resolve(sentence_transformer([MEAN])).use_activation
    assert resolve(sentence_transformer([MEAN, NORMALIZE])).use_activation


def test_modules_without_pooling_say_nothing_about_the_head(checkpoint, sentence_transformer):
    """A cross-encoder of today has a modules.json of one Transformer."""
    for architecture in ("BertModel", "BertForSequenceClassification"):
        plain = resolve(checkpoint(architecture, model_type="bert"))
        assert resolve(sentence_transformer([], architecture, model_type="bert")) == plain


def test_dense_after_the_transformer_is_late_interaction(sentence_transformer):
    """PyLate's chain: every token projected and normalised, no pooling."""
    dense = {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.modules.linear.Identity"}
    spec = resolve(sentence_transformer([("pylate.models.Dense.Dense", dense)], model_type="modernbert"))
    assert (spec.pooling, spec.sources["pooling"]) == (("ALL",), "sentence_transformers")
    assert (spec.tasks, spec.embedding_size, spec.use_activation) == (("token_embed", "score", "encode"), 8, True)


def test_a_dense_chain_sets_the_width(sentence_transformer):
    chain = [
        ("Pooling", {"pooling_mode": ["cls", "mean"]}),
        ("Dense", {"in_features": 64, "out_features": 48}),
        ("LayerNorm", {"dimension": 48}),
        ("Dense", {"in_features": 48, "out_features": 16}),
        NORMALIZE,
    ]
    spec = resolve(sentence_transformer(chain))
    assert (spec.hidden_size, spec.embedding_size) == (32, 16)
    assert [step.kind for step in spec.steps] == ["dense", "layer_norm", "dense"]
    assert (spec.sources["steps"], spec.use_activation) == ("sentence_transformers", True)


def test_modules_before_pooling_set_the_width_too(sentence_transformer):
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    chain = [
        ("Dense", {"in_features": 32, "out_features": 12, **names}),
        ("Pooling", {"pooling_mode": ["cls", "mean"]}),
        ("Dense", {"in_features": 24, "out_features": 8}),
    ]
    spec = resolve(sentence_transformer(chain))
    assert [step.path for step in spec.token_steps] == ["1_Dense"]
    assert (spec.sources["token_steps"], spec.embedding_size) == ("sentence_transformers", 8)
    assert not spec.projects_tokens  # the last Dense takes two pooled vectors
    assert resolve(sentence_transformer(chain[:2])).projects_tokens


def test_a_transformer_module_that_gives_no_hidden_states_is_refused(sentence_transformer):
    text = {"method": "forward", "method_output_name": "pooler_output"}
    stated = {"modality_config": {"text": text}, "module_output_name": "sentence_embedding"}
    files = dataclasses.replace(sentence_transformer([NORMALIZE]), transformer_config=stated)
    with pytest.raises(ConfigError, match="modality_config takes 'pooler_output' of 'forward' for texts"):
        resolve(files)


@pytest.mark.parametrize(("sizes", "allowed"), [(None, ()), ([8, 16], (8, 16)), ([16, 32], (16, 32, 8))])
def test_a_size_saved_by_sentence_transformers_is_the_default(sentence_transformer, sizes, allowed):
    files = sentence_transformer([MEAN], **({"matryoshka_dimensions": sizes} if sizes else {}))
    spec = resolve(dataclasses.replace(files, st_config={"truncate_dim": 8}))
    assert (spec.dimensions, spec.sources["dimensions"]) == (8, "sentence_transformers")
    assert (spec.is_matryoshka, spec.matryoshka_dimensions) == (True, allowed)
    asked = resolve(dataclasses.replace(files, st_config={"truncate_dim": 8}), pooler_config=config(dimensions=16))
    assert (asked.dimensions, asked.sources["dimensions"]) == (16, "user")
    assert resolve(dataclasses.replace(files, st_config={"truncate_dim": None})).dimensions is None


def test_a_size_that_is_no_size_is_refused(sentence_transformer):
    files = dataclasses.replace(sentence_transformer([MEAN]), st_config={"truncate_dim": "8"})
    with pytest.raises(ConfigError, match="truncate_dim must be a positive integer, got '8'"):
        resolve(files)


def cross_encoder(files, **stated):
    return dataclasses.replace(files, st_config={"model_type": "CrossEncoder", **stated})


SCORE = {"module_output_name": "scores"}


@pytest.mark.parametrize(
    ("width", "stated", "activation", "source"),
    [
        (1, None, "sigmoid", "convert_default"),
        (3, None, "identity", "convert_default"),
        (1, "torch.nn.modules.linear.Identity", "identity", "sentence_transformers"),
        (3, "torch.nn.modules.activation.Sigmoid", "sigmoid", "sentence_transformers"),
        (3, "torch.nn.Softmax", "softmax", "sentence_transformers"),
    ],
)
def test_a_cross_encoder_made_of_modules(sentence_transformer, width, stated, activation, source):
    """The rules are CrossEncoder's own: no softmax that was not saved, and `problem_type` says nothing."""
    chain = [
        MEAN,
        ("Dense", {"in_features": 32, "out_features": 16}),
        ("LayerNorm", {"dimension": 16}),
        ("Dense", {"in_features": 16, "out_features": width, **SCORE}),
    ]
    spec = resolve(
        cross_encoder(sentence_transformer(chain, problem_type="multi_label_classification"), activation_fn=stated)
    )
    assert (spec.convert, spec.pooling, spec.num_labels) == ("classify", ("MEAN",), width)
    assert [step.kind for step in spec.steps] == ["dense", "layer_norm", "dense"]
    assert not spec.has_classifier
    assert spec.use_activation
    assert (spec.activation, spec.sources["activation"]) == (activation, source)
    assert spec.tasks == (("classify", "score") if width == 1 else ("classify",))


def test_labels_of_a_cross_encoder_made_of_modules_are_the_configs_where_they_fit(sentence_transformer):
    chain = [MEAN, ("Dense", {"in_features": 32, "out_features": 2, **SCORE})]
    named = resolve(cross_encoder(sentence_transformer(chain, id2label={"0": "no", "1": "yes"})))
    assert (named.labels, named.sources["labels"]) == (("no", "yes"), "architecture")
    other = resolve(cross_encoder(sentence_transformer(chain, id2label={"0": "a", "1": "b", "2": "c"})))
    assert (other.labels, other.sources["labels"]) == (("LABEL_0", "LABEL_1"), "convert_default")


def test_an_activation_of_a_cross_encoder_without_counterpart_is_refused(sentence_transformer):
    chain = [MEAN, ("Dense", {"in_features": 32, "out_features": 1, **SCORE})]
    for path in ("torch.nn.modules.activation.Softplus", "my_code.Softplus2"):
        with pytest.raises(ConfigError, match=path):
            resolve(cross_encoder(sentence_transformer(chain), activation_fn=path))


def test_a_modular_cross_encoder_is_no_embedder_when_asked(sentence_transformer):
    chain = [MEAN, ("Dense", {"in_features": 32, "out_features": 1, **SCORE})]
    with pytest.raises(ConfigError, match=r"ends in 'scores', which convert=embed does not answer"):
        resolve(cross_encoder(sentence_transformer(chain)), convert="embed")


@pytest.mark.parametrize(
    ("chain", "user", "message"),
    [
        ([MEAN, ("Dense", {"in_features": 64, "out_features": 8})], {}, "2_Dense: expects 64 features, .* gives 32"),
        (
            [MEAN, ("Dense", {"in_features": 32, "out_features": 8}), ("LayerNorm", {"dimension": 9})],
            {},
            "3_LayerNorm: expects 9 features, the step before gives 8",
        ),
        (
            [("Pooling", {"pooling_mode": ["cls", "mean"]}), ("Dense", {"in_features": 64, "out_features": 8})],
            {"pooling_type": "MEAN"},
            "2_Dense: expects 64 features, the step before gives 32",
        ),
    ],
)
def test_widths_that_do_not_chain_are_refused(sentence_transformer, chain, user, message):
    with pytest.raises(ConfigError, match=message):
        resolve(sentence_transformer(chain), pooler_config=config(**user))


def test_a_normalize_in_mid_chain_stays_there(sentence_transformer):
    chain = [MEAN, NORMALIZE, ("Dense", {"in_features": 32, "out_features": 8})]
    spec = resolve(sentence_transformer(chain))
    assert ([step.kind for step in spec.steps], spec.use_activation, spec.embedding_size) == (
        ["normalize", "dense"],
        False,
        8,
    )


def test_an_unsupported_module_is_named_whatever_is_asked(sentence_transformer):
    files = sentence_transformer([MEAN, ("sentence_transformers.models.CNN", {})])
    for convert in ("auto", "embed", "classify", "reward"):
        with pytest.raises(ConfigError, match=r"'sentence_transformers.models.CNN'"):
            resolve(files, convert=convert)


def test_a_users_pooling_keeps_the_dense_layers(sentence_transformer):
    chain = [MEAN, ("Dense", {"in_features": 32, "out_features": 8}), NORMALIZE]
    spec = resolve(sentence_transformer(chain), pooler_config=config(pooling_type="ALL"))
    assert (spec.pooling, spec.embedding_size, len(spec.steps)) == (("ALL",), 8, 1)


# ------------------------------------------------------------------------------------------------- the user


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"pooling_type": "MEAN", "seq_pooling_type": "MEAN"}, "cannot set both `pooling_type` and `seq_pooling_type`"),
        ({"normalize": True, "use_activation": False}, "contradicting pooler-config keys"),
        ({"pooling_type": "MEDIAN"}, "unknown pooling type 'MEDIAN'; did you mean 'MEAN'?"),
        ({"pooling_type": "STEP"}, "pooling type STEP needs step_tag_id"),
        ({"step_tag_id": 7}, "need pooling type STEP, got CLS"),
        ({"logit_bias": 1.0, "logit_mean": 1.0}, "`logit_bias` and `logit_mean` are the same setting"),
        ({"logit_mean": 1.0}, "apply to convert=classify, got convert=embed"),
        ({"dimensions": 8}, "dimensions needs a Matryoshka model"),
    ],
)
def test_impossible_settings_of_an_embedder(checkpoint, user, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        resolve(checkpoint("BertModel", model_type="bert"), pooler_config=config(**user))


def test_a_reward_model_is_not_pooled_to_a_vector(checkpoint):
    with pytest.raises(ConfigError, match="a reward head pools ALL or STEP, got MEAN"):
        resolve(checkpoint("Qwen2ForRewardModel"), pooler_config=config(pooling_type="MEAN"))


def test_calibration_of_a_classifier(checkpoint):
    files = checkpoint("BertForSequenceClassification", num_labels=1)
    spec = resolve(files, pooler_config=config(logit_mean=2, logit_sigma=0.5))
    assert (spec.logit_mean, spec.logit_sigma, spec.sources["logit_sigma"]) == (2, 0.5, "user")
    assert resolve(files, pooler_config=config(logit_bias=2)).logit_mean == 2
    with pytest.raises(ConfigError, match="logit_sigma cannot be 0"):
        resolve(files, pooler_config=config(logit_sigma=0))


def test_a_user_calibration_wins_over_the_hook(checkpoint):
    spec = resolve(checkpoint("JinaVLForRanking"), convert="classify", pooler_config=config(logit_bias=0.0))
    assert (spec.logit_mean, spec.sources["logit_mean"]) == (0.0, "user")


def test_step_pooling_of_an_embedder(checkpoint):
    spec = resolve(checkpoint(), pooler_config=config(tok_pooling_type="step", step_tag_id=7))
    assert (spec.pooling, spec.step_tag_id, spec.tasks) == (("STEP",), 7, ("token_embed", "encode"))


# --------------------------------------------------------------------------------------- Matryoshka, labels


@pytest.mark.parametrize(
    ("stated", "is_matryoshka", "sizes", "source"),
    [
        ({}, False, (), "convert_default"),
        ({"is_matryoshka": True}, True, (), "convert_default"),
        ({"is_matryoshka": False}, False, (), "convert_default"),
        ({"matryoshka_dimensions": [8, 16]}, True, (8, 16), "architecture"),
        ({"matryoshka_dimensions": []}, False, (), "convert_default"),
        ({"matryoshka_dimensions": None, "is_matryoshka": True}, True, (), "convert_default"),
    ],
)
def test_matryoshka_is_what_the_config_says(checkpoint, stated, is_matryoshka, sizes, source):
    spec = resolve(checkpoint(**stated))
    assert (spec.is_matryoshka, spec.matryoshka_dimensions) == (is_matryoshka, sizes)
    assert spec.sources["matryoshka_dimensions"] == source


@pytest.mark.parametrize("sizes", [64, "64", {"64": True}, ["64"]])
def test_matryoshka_sizes_are_a_list_of_integers(checkpoint, sizes):
    with pytest.raises(ConfigError, match="matryoshka_dimensions must be a list of integers, got"):
        resolve(checkpoint(matryoshka_dimensions=sizes))


def test_a_default_size_of_the_vector(checkpoint):
    spec = resolve(checkpoint(is_matryoshka=True), pooler_config=config(dimensions=8))
    assert (spec.dimensions, spec.embedding_size, spec.sources["dimensions"]) == (8, 32, "user")


def test_labels_and_activation_of_a_classifier(checkpoint):
    table = {str(index): f"topic {index}" for index in (10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)}
    spec = resolve(checkpoint("BertForSequenceClassification", id2label=table))
    assert spec.labels == tuple(f"topic {index}" for index in range(11))
    assert (spec.num_labels, spec.activation, spec.tasks) == (11, "softmax", ("classify",))
    assert (spec.sources["labels"], spec.sources["activation"]) == ("architecture", "convert_default")


def test_one_label_scores(checkpoint):
    spec = resolve(checkpoint("BertForSequenceClassification", id2label={"0": "relevance"}))
    assert (spec.num_labels, spec.activation, spec.tasks) == (1, "sigmoid", ("classify", "score"))


def test_a_cross_encoder_of_today_keeps_its_activation(checkpoint):
    plain = checkpoint("BertForSequenceClassification", num_labels=1)
    stated = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"}
    spec = resolve(dataclasses.replace(plain, st_config=stated))
    assert (spec.activation, spec.sources["activation"]) == ("identity", "sentence_transformers")


@pytest.mark.parametrize(
    ("architecture", "num_labels"),
    [
        ("Qwen2ForRewardModel", 1),
        ("Foo2RewardModel", 1),
        ("LlamaForRewardModeling", 1),
        ("Qwen3ForSequenceClassification", 1),
        ("BertForTokenClassification", 1),
        ("LlamaForCausalLM", None),
        ("BertForMaskedLM", None),
        ("GPT2LMHeadModel", None),
        ("T5ForConditionalGeneration", None),
        ("LlamaForTextEncoding", None),
        ("BertModel", None),
    ],
)
def test_rewards_come_from_a_head_where_the_checkpoint_has_one(checkpoint, architecture, num_labels):
    spec = resolve(checkpoint(architecture, id2label={"0": "reward"}), convert="reward")
    assert (spec.pooling, spec.num_labels) == (("ALL",), num_labels)
    assert spec.labels == (("reward",) if num_labels else ())


@pytest.mark.parametrize(
    ("stated", "pair_format", "source"),
    [
        ({}, "pair", "convert_default"),
        ({"use_sep_token": True}, "pair", "convert_default"),
        ({"use_sep_token": False}, "concat", "architecture"),
        ({"use_pad_token": False}, "concat", "architecture"),
        ({"use_sep_token": True, "use_pad_token": False}, "pair", "convert_default"),
    ],
)
def test_two_texts_are_a_pair_unless_the_config_denies_it(checkpoint, stated, pair_format, source):
    spec = resolve(checkpoint("Qwen3ForSequenceClassification", num_labels=1, **stated))
    assert (spec.pair_format, spec.sources["pair_format"]) == (pair_format, source)


# --------------------------------------------------------------------------------------------------- widths


def test_a_nested_text_config_gives_the_width():
    files = CheckpointFiles(config={"architectures": ["FooModel"], "text_config": {"hidden_size": 48}})
    assert resolve(files).embedding_size == 48


@pytest.mark.parametrize("model_type", ["albert", "electra"])
def test_the_width_of_albert_and_electra_is_not_their_embedding_size(checkpoint, model_type):
    spec = resolve(checkpoint("FooModel", model_type=model_type, embedding_size=128, hidden_size=312))
    assert (spec.hidden_size, spec.embedding_size) == (312, 312)


# --------------------------------------------------------------------------------------------------- purity


MODULES = st.lists(
    st.sampled_from(
        [
            ("Dense", {"in_features": 32, "out_features": 32}),
            ("LayerNorm", {"dimension": 32}),
            ("Normalize", {}),
            ("Dropout", {}),
        ]
    ),
    max_size=3,
)
ARCHITECTURES = ["BertModel", "Qwen3ForCausalLM", "BertForSequenceClassification", *HOOKS]


@settings(deadline=None)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    modules=st.none() | MODULES,
    convert=st.sampled_from(["auto", "embed", "classify", "reward"]),
    user=st.fixed_dictionaries(
        {},
        optional={
            "pooling_type": st.sampled_from(["MEAN", "ALL", "STEP"]),
            "use_activation": st.booleans(),
            "step_tag_id": st.just(5),
        },
    ),
)
def test_resolution_is_pure(architecture, modules, convert, user):
    """The same answer or the same refusal twice, and nothing of the input changed."""
    rows = [("", "Transformer", {}), ("1_Pooling", "Pooling", {"pooling_mode": "mean"})]
    rows += [(f"{index}_{kind}", kind, own) for index, (kind, own) in enumerate(modules or (), start=2)]
    files = CheckpointFiles(
        config={"architectures": [architecture], "hidden_size": 32, "id2label": {"0": "x"}},
        modules=None
        if modules is None
        else [{"path": p, "type": f"sentence_transformers.models.{k}"} for p, k, _ in rows],
        module_configs={path: own for path, _, own in rows},
    )
    before = copy.deepcopy(files)

    def answer():
        try:
            return resolve(files, convert=convert, pooler_config=config(**user))
        except ConfigError as error:
            return str(error)

    first, second = answer(), answer()
    assert first == second
    assert files == before
    if not isinstance(first, str):
        first.sources.clear()
        assert answer() == second  # and no answer is shared


def test_every_hook_resolves_with_every_convert(checkpoint):
    """No hook makes a conversion that its architecture could have impossible."""
    for architecture, convert in itertools.product(HOOKS, ("embed", "classify", "reward")):
        assert resolve(checkpoint(architecture), convert=convert).convert == convert
