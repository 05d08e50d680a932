from __future__ import annotations

import copy

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.parts import HeadStep
from pool_export.poolers.st_modules import (
    answers_scores,
    has_pooling,
    is_supported,
    module_kind,
    parse_chain,
    require_output,
)

OLD = "sentence_transformers.models."
NEW_PATHS = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "Dropout": "sentence_transformers.sentence_transformer.modules.dropout.Dropout",
}
DENSE = {"in_features": 32, "out_features": 16}
TOKENS = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
SCORES = {"module_output_name": "scores"}
LEGACY_ORDER = [
    ("pooling_mode_cls_token", "CLS"),
    ("pooling_mode_max_tokens", "MAX"),
    ("pooling_mode_mean_tokens", "MEAN"),
    ("pooling_mode_mean_sqrt_len_tokens", "MEAN_SQRT_LEN"),
    ("pooling_mode_weightedmean_tokens", "WEIGHTED_MEAN"),
    ("pooling_mode_lasttoken", "LAST"),
]


def chain(*modules, transformer=OLD + "Transformer"):
    """Parse Transformer and then `modules`: kinds, or (kind or class path, config)."""
    rows, configs = [{"path": "", "type": transformer}], {}
    for index, module in enumerate(modules, start=1):
        kind, config = module if isinstance(module, tuple) else (module, {})
        path = f"{index}_{kind.rsplit('.', 1)[-1]}"
        rows.append({"path": path, "type": kind if "." in kind else OLD + kind})
        configs[path] = config
    return parse_chain(rows, configs)


# ----------------------------------------------------------------------------------------------- class paths


@pytest.mark.parametrize("kind", NEW_PATHS)
def test_old_and_new_class_paths_name_the_same_module(kind):
    for path in (OLD + kind, f"{OLD}{kind.lower()}.{kind}", NEW_PATHS[kind]):
        assert module_kind({"type": path}) == kind
        assert is_supported({"type": path})


@pytest.mark.parametrize(
    ("path", "supported"),
    [
        ("pylate.models.Dense.Dense", True),
        ("custom_st.Pooling", False),
        ("Pooling", False),
        ("sentence_transformers.models.WordEmbeddings", False),
        ("sentence_transformers.models.WeightedLayerPooling", False),
        ("sentence_transformers.sparse_encoder.models.SpladePooling", False),
        ("", False),
    ],
)
def test_only_modules_the_graph_can_hold_are_supported(path, supported):
    assert is_supported({"type": path}) is supported


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        ([{"type": OLD + "Transformer"}, {"type": OLD + "Pooling"}], True),
        ([{"type": NEW_PATHS["Transformer"]}, {"type": NEW_PATHS["Pooling"]}], True),
        ([{"type": OLD + "Transformer"}, {"type": OLD + "WeightedLayerPooling"}], False),
        ([{"type": OLD + "Transformer"}], False),
        ([], False),
        (None, False),
    ],
)
def test_a_pooling_module_is_found_by_its_class(modules, found):
    assert has_pooling(modules) is found


# --------------------------------------------------------------------------------------------- pooling modes


@pytest.mark.parametrize(("key", "kind"), LEGACY_ORDER)
def test_an_old_boolean(key, kind):
    config = {name: name == key for name, _ in LEGACY_ORDER}
    assert chain(("Pooling", {"word_embedding_dimension": 32, **config})).pooling == (kind,)


def test_several_old_booleans_concatenate_in_the_librarys_order_whatever_the_files_order():
    config = {key: True for key, _ in reversed(LEGACY_ORDER)}
    assert chain(("Pooling", config)).pooling == tuple(kind for _, kind in LEGACY_ORDER)
    two = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
    assert chain(("Pooling", two)).pooling == ("CLS", "MEAN")


@pytest.mark.parametrize(
    ("mode", "pooling"),
    [
        ("cls", ("CLS",)),
        ("max", ("MAX",)),
        ("mean", ("MEAN",)),
        ("mean_sqrt_len_tokens", ("MEAN_SQRT_LEN",)),
        ("weightedmean", ("WEIGHTED_MEAN",)),
        ("lasttoken", ("LAST",)),
        (["mean"], ("MEAN",)),
        (["mean", "cls"], ("MEAN", "CLS")),
        (("lasttoken", "max", "cls"), ("LAST", "MAX", "CLS")),
    ],
)
def test_a_new_mode_is_a_string_or_a_list_in_its_own_order(mode, pooling):
    assert chain(("Pooling", {"embedding_dimension": 32, "pooling_mode": mode})).pooling == pooling


@pytest.mark.parametrize(
    "config",
    [{}, {"pooling_mode": None}, {"word_embedding_dimension": 32}, {"pooling_mode_cls_token": False}],
)
def test_no_mode_at_all_is_the_librarys_default_mean(config):
    assert chain(("Pooling", config)).pooling == ("MEAN",)


def test_the_new_key_wins_over_old_ones():
    config = {"pooling_mode": "lasttoken", "pooling_mode_mean_tokens": True}
    assert chain(("Pooling", config)).pooling == ("LAST",)


@pytest.mark.parametrize("mode", ["median", [], ["mean", "median"], 3, [["mean"]], {"mean": True}, "MEAN", ""])
def test_an_unknown_mode_is_refused_with_the_file(mode):
    with pytest.raises(
        ConfigError, match=r"1_Pooling/config.json: pooling_mode .* is unknown; expected: cls, max, mean"
    ):
        chain(("Pooling", {"pooling_mode": mode}))


def test_a_chain_without_pooling_says_nothing_about_it():
    assert chain().pooling is None
    assert chain(
        ("pylate.models.Dense.Dense", {**DENSE, "activation_function": "torch.nn.modules.linear.Identity"})
    ) == (chain(("Dense", {**DENSE, "activation_function": "torch.nn.modules.linear.Identity"})))


# --------------------------------------------------------------------------------------------- order and path


def test_the_transformers_folder_is_kept():
    rows = [{"path": "0_Transformer", "type": OLD + "Transformer"}, {"path": "1_Pooling", "type": OLD + "Pooling"}]
    assert parse_chain(rows, {}).transformer_path == "0_Transformer"
    assert chain("Pooling").transformer_path == ""


def test_a_final_normalize_is_the_activation_and_no_step():
    parsed = chain("Pooling", "Normalize")
    assert (parsed.steps, parsed.normalize) == ((), True)


def test_without_normalize_there_is_none():
    parsed = chain("Pooling")
    assert (parsed.steps, parsed.normalize) == ((), False)


def test_a_normalize_in_mid_chain_is_a_step():
    parsed = chain("Pooling", "Normalize", ("Dense", DENSE))
    assert [step.kind for step in parsed.steps] == ["normalize", "dense"]
    assert not parsed.normalize
    again = chain("Pooling", "Normalize", ("Dense", DENSE), "Normalize")
    assert [step.kind for step in again.steps] == ["normalize", "dense"]
    assert again.normalize


def test_dropout_does_nothing_at_inference():
    assert chain("Pooling", ("Dropout", {"dropout": 0.5}), "Normalize") == chain("Pooling", "Normalize")


def test_every_step_keeps_its_place_folder_and_sizes():
    parsed = chain(
        "Pooling",
        ("Dense", {**DENSE, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}),
        ("LayerNorm", {"dimension": 16}),
        "Normalize",
    )
    assert parsed.steps == (
        HeadStep(kind="dense", path="2_Dense", in_features=32, out_features=16, bias=False, activation="identity"),
        HeadStep(kind="layer_norm", path="3_LayerNorm", in_features=16, out_features=16),
    )


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (["Transformer"], "entry 1 is Transformer; expected one Transformer, in first place"),
        (["Pooling", "Pooling"], "entry 2: Pooling must come once, and work on token_embeddings"),
        (["Pooling", ("Dense", DENSE), "Pooling"], "entry 3: Pooling must come once, and work on token_embeddings"),
        (
            [("Dense", DENSE), "Pooling"],
            "1_Dense/config.json: Dense works on 'sentence_embedding' and the module before it gives 'token",
        ),
        (
            [("Dense", {**DENSE, "module_input_name": "token_embeddings", "module_output_name": "x"}), "Pooling"],
            "entry 2: Pooling must come once, and work on token_embeddings",
        ),
        (
            ["Pooling", ("Dense", {**DENSE, **SCORES}), "Normalize"],
            "3_Normalize/config.json: Normalize works on 'sentence_embedding' and the module before it gives 'sc",
        ),
        (
            [("Dense", {**DENSE, **SCORES})],
            "the last module gives 'scores'; expected 'token_embeddings' without a Pool",
        ),
    ],
)
def test_a_chain_in_another_order_is_refused(modules, message):
    with pytest.raises(ConfigError, match=message):
        chain(*modules)


def test_a_chain_that_does_not_begin_with_a_transformer_is_refused():
    with pytest.raises(ConfigError, match="entry 0 is Pooling; expected one Transformer, in first place"):
        parse_chain([{"path": "0_Pooling", "type": OLD + "Pooling"}], {})


@pytest.mark.parametrize(
    "kind",
    [
        "BoW",
        "CNN",
        "LSTM",
        "StaticEmbedding",
        "WordEmbeddings",
        "WordWeights",
        "WeightedLayerPooling",
        "sentence_transformers.base.modules.router.Router",
        "sentence_transformers.sparse_encoder.modules.SpladePooling",
        "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
        "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
        "my_repo.modeling.Pooling",
    ],
)
def test_an_unsupported_module_is_named(kind):
    with pytest.raises(ConfigError) as caught:
        chain(kind)
    assert kind in str(caught.value)
    assert "supported sentence-transformers modules: Transformer, Pooling, Dense, LayerNorm" in str(caught.value)


def test_static_embeddings_are_named():
    with pytest.raises(ConfigError, match=r"entry 0 is 'sentence_transformers.models.StaticEmbedding'"):
        parse_chain([{"path": "", "type": OLD + "StaticEmbedding"}], {})


# -------------------------------------------------------------------------------------- Dense and LayerNorm


def test_a_dense_layer_has_a_bias_and_tanh_unless_it_says_otherwise():
    (step,) = chain("Pooling", ("Dense", DENSE)).steps
    assert (step.bias, step.activation) == (True, "tanh")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (("Dense", {"out_features": 16}), r"2_Dense/config.json: Dense needs an integer 'in_features', got None"),
        (("Dense", {**DENSE, "out_features": "16"}), "Dense needs an integer 'out_features', got '16'"),
        (
            ("Dense", {**DENSE, "activation_function": "torch.nn.modules.activation.PReLU"}),
            r"2_Dense/config.json: activation_function 'torch.nn.modules.activation.PReLU' is not supported",
        ),
        (("Dense", {**DENSE, "activation_function": ["tanh"]}), r"activation_function .* is not supported"),
        (("Dense", {**DENSE, "activation_function": None}), r"activation_function None is not supported"),
        (
            ("Dense", {**DENSE, "module_input_name": "token_embeddings"}),
            "2_Dense/config.json: Dense works on 'token_embeddings' and the module before it gives 'sentence_emb",
        ),
        (
            ("Dense", {**DENSE, "module_output_name": "other"}),
            "the last module gives 'other'; expected 'sentence_embedding' or 'scores' with a Pooling module",
        ),
        (("LayerNorm", {}), r"2_LayerNorm/config.json: LayerNorm needs an integer 'dimension', got None"),
        (
            ("Normalize", {"module_input_name": "token_embeddings"}),
            "Normalize works on 'token_embeddings' and the module before it gives 'sentence_emb",
        ),
    ],
)
def test_a_setting_the_graph_cannot_hold_is_refused_with_its_file(module, message):
    with pytest.raises(ConfigError, match=message):
        chain("Pooling", module)


def test_the_usual_names_of_input_and_output_are_accepted():
    names = {"module_input_name": "sentence_embedding", "module_output_name": None}
    assert chain("Pooling", ("Dense", {**DENSE, **names}), ("Normalize", names)) == chain(
        "Pooling", ("Dense", DENSE), "Normalize"
    )


def test_modules_before_pooling_work_on_every_token():
    parsed = chain(("Dense", {**DENSE, **TOKENS}), ("Normalize", TOKENS), "Pooling", ("Dense", DENSE))
    assert [step.kind for step in parsed.token_steps] == ["dense", "normalize"]
    assert [(step.kind, step.path) for step in parsed.steps] == [("dense", "4_Dense")]
    assert not parsed.normalize


def test_a_value_may_change_its_name_on_the_way():
    there = ("Dense", {**DENSE, "module_output_name": "hidden"})
    back = ("Dense", {**DENSE, "module_input_name": "hidden", "module_output_name": "sentence_embedding"})
    assert chain("Pooling", there, back) == chain("Pooling", ("Dense", DENSE), ("Dense", DENSE))


def test_a_cross_encoder_ends_in_scores():
    parsed = chain("Pooling", ("Dense", DENSE), ("LayerNorm", {"dimension": 16}), ("Dense", {**DENSE, **SCORES}))
    assert ([step.kind for step in parsed.steps], parsed.scores) == (["dense", "layer_norm", "dense"], True)
    assert not chain("Pooling", ("Dense", DENSE)).scores


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        ([("Pooling", {}), ("Dense", {**DENSE, **SCORES})], True),
        ([("Pooling", {}), ("Dense", {**DENSE, **SCORES}), ("Dropout", {})], True),
        ([("Pooling", {}), ("Dense", DENSE)], False),
        ([("Pooling", {})], False),
        ([], False),
    ],
)
def test_scores_are_what_the_last_dense_gives(modules, found):
    rows = [{"path": str(index), "type": OLD + kind} for index, (kind, _) in enumerate(modules)]
    configs = {str(index): config for index, (_, config) in enumerate(modules)}
    assert answers_scores(rows, configs) is found
    assert answers_scores(None, {}) is False


def test_a_residual_is_kept():
    assert chain("Pooling", ("Dense", {**DENSE, "use_residual": True})).steps[0].residual
    assert not chain("Pooling", ("Dense", DENSE)).steps[0].residual


@pytest.mark.parametrize("name", ["Softmax", "Softmin", "LogSoftmax"])
def test_a_function_across_features_is_one_across_texts_on_tokens(name):
    """PyTorch picks the axis by the number of axes: of token vectors it is the batch."""
    dense = {**DENSE, "activation_function": f"torch.nn.modules.activation.{name}"}
    assert chain("Pooling", ("Dense", dense)).steps
    with pytest.raises(ConfigError, match=r"1_Dense/config.json: .* on token_embeddings runs across the texts"):
        chain(("Dense", {**dense, **TOKENS}), "Pooling")


FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}


def test_hidden_states_of_plain_text_are_what_a_chain_takes():
    require_output({})
    require_output({"max_seq_length": 128, "do_lower_case": True})
    require_output({"modality_config": {"text": FORWARD}, "module_output_name": "token_embeddings"})


@pytest.mark.parametrize(
    ("modality", "message"),
    [
        ({"text": {**FORWARD, "method_output_name": "pooler_output"}}, "takes 'pooler_output' of 'forward' for texts"),
        (
            {"text": {**FORWARD, "method": "get_text_features"}},
            "takes .* of 'get_text_features' for",
        ),
        ({"text": FORWARD, "message": FORWARD}, "has 'message', so texts are rendered by the chat template first"),
    ],
)
def test_another_start_of_the_chain_is_refused(modality, message):
    with pytest.raises(ConfigError, match=f"sentence_bert_config.json: modality_config {message}"):
        require_output({"modality_config": modality})


def test_a_tokenizer_called_in_its_own_way_is_refused():
    require_output({"processing_kwargs": {"text": {}, "image": {"size": 8}}})
    with pytest.raises(ConfigError, match=r"processing_kwargs {'text': {'max_length': 8}} are not supported"):
        require_output({"processing_kwargs": {"text": {"max_length": 8}}})


def test_parsing_leaves_its_input_alone():
    rows = [{"path": "", "type": OLD + "Transformer"}, {"path": "1_Pooling", "type": OLD + "Pooling"}]
    configs = {"1_Pooling": {"pooling_mode": ["mean", "cls"]}}
    before = copy.deepcopy((rows, configs))
    assert parse_chain(rows, configs) == parse_chain(rows, configs)
    assert (rows, configs) == before


# ------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("config", [{"pooling_mode_mean_tokens": True}, {"pooling_mode": "mean"}], ids=["old", "new"])
@pytest.mark.parametrize(
    ("stated", "read"), [({}, True), ({"include_prompt": True}, True), ({"include_prompt": False}, False)]
)
def test_a_prompt_may_stay_out_of_the_pool_in_either_dialect(config, stated, read):
    assert chain(("Pooling", {**config, **stated}), "Normalize").include_prompt is read
