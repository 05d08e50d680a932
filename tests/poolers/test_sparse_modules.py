"""Sparse heads as checkpoints declare them: SPLADE's module files and settings, bge-m3's weight files."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pool_export.poolers.chains import read_chain
from pool_export.poolers.conversion import resolve_convert
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.parts import LateInteraction, SparseHead
from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.poolers.resolve import resolve
from pool_export.poolers.sparse_modules import COLBERT_LINEAR, SPARSE_LINEAR

MLM = {"architectures": ["BertForMaskedLM"], "model_type": "bert", "hidden_size": 32, "vocab_size": 100}
TRANSFORMERS = ("sentence_transformers.sparse_encoder.models.MLMTransformer",
                "sentence_transformers.base.modules.transformer.Transformer")  # fmt: skip
POOLING = "sentence_transformers.sparse_encoder.models.SpladePooling"
SPLADE = PoolerConfig(pooling_type="SPLADE")


def sparse_encoder(*kinds: str, pooling: dict[str, Any] | None = None, **st_config: Any) -> CheckpointFiles:
    kinds = kinds or (TRANSFORMERS[0], POOLING)
    modules = [{"path": f"{i}_x" if i else "", "type": kind} for i, kind in enumerate(kinds)]
    settings = {"model_type": "SparseEncoder", **st_config}
    return CheckpointFiles(config=MLM, modules=modules, module_configs={"1_x": pooling or {}}, st_config=settings)


@pytest.mark.parametrize("transformer", TRANSFORMERS)
def test_a_sparse_encoder_is_recognised_by_its_chain(transformer):
    spec = resolve(sparse_encoder(transformer, POOLING))
    assert (spec.convert, spec.pooling, spec.sources["pooling"]) == ("embed", ("SPLADE",), "sentence_transformers")
    assert (spec.sparse, spec.embedding_size, spec.use_activation) == (SparseHead(kind="splade"), 100, False)
    assert spec.tasks == ("embed", "score", "sparse_embed")


@pytest.mark.parametrize(
    ("pooling", "head"),
    [
        ({"pooling_strategy": "max", "activation_function": "relu"}, {}),
        ({"pooling_strategy": "sum", "embedding_dimension": 100}, {"strategy": "sum"}),
        ({"activation_function": "log1p_relu", "word_embedding_dimension": None}, {"function": "log1p_relu"}),
    ],
)
def test_the_settings_of_splade_pooling_are_kept(pooling, head):
    assert resolve(sparse_encoder(pooling=pooling)).sparse == SparseHead(kind="splade", **head)


def test_the_settings_of_the_encoder_are_kept():
    spec = resolve(sparse_encoder(max_active_dims=64, similarity_fn_name="cosine"))
    assert spec.sparse == SparseHead(kind="splade", max_active_dims=64, similarity="cosine")


@pytest.mark.parametrize(
    ("pooling", "st_config", "why"),
    [
        ({"pooling_strategy": "mean"}, {}, "pooling_strategy 'mean' is not supported; expected: max, sum"),
        ({"activation_function": "gelu"}, {}, "activation_function 'gelu' is not supported"),
        ({"embedding_dimension": 99}, {}, "embedding_dimension is 99, the vocabulary has 100"),
        ({}, {"similarity_fn_name": "euclidean"}, "similarity_fn_name 'euclidean' is not supported for a sparse"),
        ({}, {"max_active_dims": 0}, "max_active_dims must be 1 or more, got 0"),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_refused_by_name(pooling, st_config, why):
    with pytest.raises(ConfigError, match=why):
        resolve(sparse_encoder(pooling=pooling, **st_config))


@pytest.mark.parametrize(
    ("kinds", "named"),
    [
        ((TRANSFORMERS[0], POOLING, "sentence_transformers.models.Normalize"), "Normalize"),
        ((TRANSFORMERS[0], "sentence_transformers.models.Pooling", POOLING), "models.Pooling"),
        ((TRANSFORMERS[0], "custom.SpladePooling"), "custom.SpladePooling"),
        (("sentence_transformers.base.modules.router.Router",), "Router"),
        (("sentence_transformers.sparse_encoder.modules.sparse_static_embedding.SparseStaticEmbedding",), "SparseStat"),
        ((TRANSFORMERS[1], "sentence_transformers.models.Pooling",
          "sentence_transformers.sparse_encoder.modules.sparse_auto_encoder.SparseAutoEncoder"), "SparseAutoEncoder"),
    ],
)  # fmt: skip
def test_a_chain_that_is_more_than_splade_is_refused_by_module(kinds, named):
    with pytest.raises(ConfigError, match=named):
        read_chain(sparse_encoder(*kinds))


def test_a_bare_masked_language_model_names_both_ways():
    with pytest.raises(ConfigError, match=r'pooling_type": "SPLADE".*--convert embed for a dense vector'):
        resolve(CheckpointFiles(config=MLM))


def test_a_user_makes_a_masked_language_model_sparse_or_dense():
    sparse = resolve(CheckpointFiles(config=MLM), pooler_config=SPLADE)
    assert (sparse.pooling, sparse.sources["pooling"], sparse.embedding_size) == (("SPLADE",), "user", 100)
    dense = resolve(CheckpointFiles(config=MLM), convert="embed")
    assert (dense.pooling, dense.sparse, dense.embedding_size) == (("CLS",), None, 32)


def test_vllms_architecture_name_is_splade():
    config = {**MLM, "architectures": ["BertSpladeSparseEmbeddingModel"]}
    assert resolve(CheckpointFiles(config=config)).sparse == SparseHead(kind="splade")


def test_what_splade_cannot_be_is_refused():
    files = CheckpointFiles(config=MLM)
    with pytest.raises(ConfigError, match="are not normalised"):
        resolve(files, pooler_config=PoolerConfig(pooling_type="SPLADE", normalize=True))
    with pytest.raises(ConfigError, match="convert=classify"):
        resolve(files, convert="classify", pooler_config=SPLADE)
    with pytest.raises(ConfigError, match="needs vocab_size"):
        resolve(CheckpointFiles(config={**MLM, "vocab_size": None}), pooler_config=SPLADE)


def test_a_users_pooling_makes_a_sparse_encoder_dense():
    spec = resolve(sparse_encoder(), pooler_config=PoolerConfig(pooling_type="MEAN"))
    assert (spec.pooling, spec.sparse, spec.embedding_size) == (("MEAN",), None, 32)
    assert resolve_convert(sparse_encoder()) == "embed"


# -------------------------------------------------------------------------------------------------- bge-m3

XLM_R = {"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "hidden_size": 32}
BOTH = frozenset({SPARSE_LINEAR, COLBERT_LINEAR})


def test_two_weight_files_beside_the_transformer_make_a_bge_m3():
    spec = resolve(CheckpointFiles(config=XLM_R, weight_files=BOTH))
    assert (spec.pooling, spec.embedding_size) == (("CLS",), 32)
    assert spec.tasks == ("embed", "score", "token_embed", "encode", "sparse_embed")
    assert spec.sparse is not None
    assert [(step.path, step.out_features, step.activation) for step in spec.sparse.steps] == [
        (SPARSE_LINEAR, 1, "relu")
    ]
    assert spec.late_interaction is not None
    assert spec.late_interaction.skips_first
    assert [(step.path, step.out_features) for step in spec.late_interaction.steps] == [(COLBERT_LINEAR, 32)]


@pytest.mark.parametrize("files", [frozenset(), {SPARSE_LINEAR}, {COLBERT_LINEAR}])
def test_one_file_alone_is_no_bge_m3(files):
    checkpoint = CheckpointFiles(config=XLM_R, weight_files=frozenset(files))
    assert resolve(checkpoint).sparse is None
    named = {**XLM_R, "architectures": ["BgeM3EmbeddingModel"]}
    with pytest.raises(ConfigError, match=r"BgeM3EmbeddingModel needs .*linear\.pt beside"):
        resolve(dataclasses.replace(checkpoint, config=named))


def test_a_classifier_beside_such_files_stays_a_classifier():
    config = {**XLM_R, "architectures": ["XLMRobertaForSequenceClassification"], "num_labels": 1}
    spec = resolve(CheckpointFiles(config=config, weight_files=BOTH))
    assert (spec.sparse, spec.late_interaction, spec.tasks) == (None, None, ("classify", "score"))


def test_a_declared_pooling_of_all_tokens_has_no_sides_unless_they_are_declared():
    spec = resolve(CheckpointFiles(config=XLM_R), pooler_config=PoolerConfig(pooling_type="ALL"))
    assert spec.late_interaction is None
    files = CheckpointFiles(config=XLM_R, st_config={"model_type": "MultiVectorEncoder"})
    assert resolve(files).late_interaction == LateInteraction()
