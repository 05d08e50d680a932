"""Late interaction as checkpoints declare it: PyLate, Stanford ColBERT, sentence-transformers 6."""

from __future__ import annotations

import string
from typing import Any

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.parts import Expansion, LateInteraction, TextSide
from pool_export.poolers.resolve import resolve

CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 32}
DENSE = {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.modules.linear.Identity"}
TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
MASK = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"
NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"
TOKENS = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}


def pylate(**stated: Any) -> CheckpointFiles:
    modules = [{"path": "", "type": TRANSFORMER}, {"path": "1_Dense", "type": "pylate.models.Dense.Dense"}]
    return CheckpointFiles(config=CONFIG, modules=modules, module_configs={"1_Dense": DENSE}, st_config=stated)


def native(
    mask: dict[str, Any] | None = None,
    transformer: dict[str, Any] | None = None,
    *,
    normalize: bool = True,
    **st_config: Any,
) -> CheckpointFiles:
    rows = [("", TRANSFORMER, {}), ("1_Dense", "sentence_transformers.base.modules.dense.Dense", {**DENSE, **TOKENS})]
    rows += [("2_MultiVectorMask", MASK, mask or {})]
    rows += [("3_Normalize", NORMALIZE, TOKENS)] if normalize else []
    return CheckpointFiles(
        config=CONFIG,
        modules=[{"path": path, "type": kind} for path, kind, _ in rows],
        module_configs={path: config for path, _, config in rows if path},
        transformer_config=transformer or {},
        st_config={"model_type": "MultiVectorEncoder", **st_config},
    )


def stanford(**artifact: Any) -> CheckpointFiles:
    return CheckpointFiles(config={**CONFIG, "architectures": ["HF_ColBERT"]}, artifact=artifact)


def late(files: CheckpointFiles) -> LateInteraction:
    found = resolve(files).late_interaction
    assert found is not None
    return found


# -------------------------------------------------------------------------------------------------- PyLate


def test_pylate_settings():
    spec = resolve(
        pylate(
            model_type="ColBERT",
            query_prefix="[Q] ",
            document_prefix="[D] ",
            query_length=48,
            document_length=300,
            attend_to_expansion_tokens=True,
            skiplist_words=["!", "?"],
            prompts={"query": "[Q] find: ", "document": None},
        )
    )
    assert (spec.pooling, spec.embedding_size, spec.use_activation) == (("ALL",), 8, True)
    assert spec.tasks == ("token_embed", "score", "encode")
    assert spec.late_interaction == LateInteraction(
        query=TextSide(marker="[Q] ", prompt="find: ", max_length=48),
        document=TextSide(marker="[D] ", max_length=300, skips=True),
        expansion=Expansion(length=48, attend=True),
        skiplist_words=("!", "?"),
    )


def test_pylates_defaults():
    found = late(pylate(model_type="ColBERT"))
    assert found.expansion == Expansion(length=32)
    assert found.skiplist_words == tuple(string.punctuation)
    assert (found.query.marker, found.document.skips, found.query.skips) == ("", True, False)


def test_pylate_without_expansion():
    assert late(pylate(do_query_expansion=False, query_length=16)).expansion is None


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"query_length": "32"}, "query_length must be a number of tokens, got '32'"),
        ({"document_length": 0}, "document_length must be a number of tokens, got 0"),
        ({"skiplist_words": "abc"}, "skiplist_words must be a list of texts"),
    ],
)
def test_a_bad_setting_is_named(stated, why):
    with pytest.raises(ConfigError, match=why):
        resolve(pylate(model_type="ColBERT", **stated))


def test_a_dense_chain_that_declares_nothing_reads_both_sides_alike():
    spec = resolve(pylate())
    assert (spec.pooling, spec.late_interaction) == (("ALL",), None)


# ------------------------------------------------------------------------------------------------ Stanford


def test_stanford_settings():
    spec = resolve(
        stanford(dim=96, query_maxlen=24, doc_maxlen=180, mask_punctuation=False, query_token_id="[unused7]")
    )
    (step,) = spec.steps
    assert (spec.convert, spec.pooling, spec.embedding_size, spec.use_activation) == ("embed", ("ALL",), 96, True)
    assert (step.tensors, step.in_features, step.out_features, step.bias) == ("linear.", 32, 96, False)
    assert spec.late_interaction == LateInteraction(
        query=TextSide(marker="[unused7]"),
        document=TextSide(marker="[unused1]", max_length=180, skips=True),
        expansion=Expansion(length=24),
    )


def test_stanfords_defaults():
    spec = resolve(stanford())
    assert spec.embedding_size == 128
    assert spec.late_interaction is not None
    assert spec.late_interaction.expansion == Expansion(length=32)
    assert spec.late_interaction.skiplist_words == tuple(string.punctuation)


# -------------------------------------------------------------------------------------------------- native


def test_native_settings():
    files = native(
        {"skiplist_words": ["!"], "skiplist_tasks": ["query", "document"]},
        {"query_length": 64, "document_length": 200,
         "query_expansion": {"strategy": "min", "attend": False, "token": "[X]", "length": 16}},
        prompts={"query": "q: ", "document": ""},
        similarity_fn_name="meanmaxsim",
    )  # fmt: skip
    spec = resolve(files)
    assert (spec.pooling, spec.embedding_size, spec.use_activation) == (("ALL",), 8, True)
    assert spec.late_interaction == LateInteraction(
        query=TextSide(prompt="q: ", max_length=64, skips=True),
        document=TextSide(max_length=200, skips=True),
        expansion=Expansion(length=16, token="[X]", is_fixed=False),
        skiplist_words=("!",),
        similarity="meanmaxsim",
    )


def test_natives_defaults():
    found = late(native())
    assert found == LateInteraction(document=TextSide(skips=True))


def test_a_native_chain_without_normalize_is_not_normalised():
    assert resolve(native(normalize=False)).use_activation is False


def test_another_models_similarity_is_passed_over():
    assert late(native(similarity_fn_name="cosine")).similarity == "maxsim"


@pytest.mark.parametrize(
    ("mask", "transformer", "why"),
    [
        ({"keep_only_token_ids": [5]}, {}, "keep_only_token_ids is not supported"),
        ({}, {"query_expansion": {"strategy": "far", "length": 8}}, "query_expansion .* is not understood"),
        ({}, {"query_expansion": {"strategy": "min"}}, "query_expansion .* is not understood"),
        ({}, {"query_expansion": {"strategy": "min", "length": 8, "odd": 1}}, "query_expansion .* is not understood"),
    ],
)
def test_what_cannot_be_honoured_is_refused(mask, transformer, why):
    with pytest.raises(ConfigError, match=why):
        resolve(native(mask, transformer))


def test_token_pooling_is_refused_by_name():
    files = native()
    kind = "sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling"
    modules = [*(files.modules or ()), {"path": "4_HierarchicalTokenPooling", "type": kind}]
    with pytest.raises(ConfigError, match="HierarchicalTokenPooling"):
        resolve(CheckpointFiles(config=CONFIG, modules=modules, module_configs=files.module_configs))
