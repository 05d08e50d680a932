from __future__ import annotations

import pytest

from pool_export.export.assemble import similarity
from pool_export.export.request import ExportRequest
from pool_export.export.request_texts import stored_template, template_note
from pool_export.models_zoo.templates import score_template
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.spec import SIMILARITIES, PoolingSpec
from pool_export.runtime.manifest import TokenizerPolicy

EMBED = PoolingSpec(convert="embed", pooling=("MEAN",), hidden_size=8)
TOKENS = PoolingSpec(convert="embed", pooling=("ALL",), hidden_size=8)
CROSS = PoolingSpec(convert="classify", pooling=("LAST",), hidden_size=8, num_labels=1)
CONCAT = PoolingSpec(convert="classify", pooling=("LAST",), hidden_size=8, num_labels=1, pair_format="concat")
CLASSES = PoolingSpec(convert="classify", pooling=("LAST",), hidden_size=8, num_labels=3)
REWARD = PoolingSpec(convert="reward", pooling=("ALL",), hidden_size=8, num_labels=1)


def files(similarity_name: str | None = None, **config: object) -> CheckpointFiles:
    return CheckpointFiles(config=config, st_config={"similarity_fn_name": similarity_name})


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_similarity_is_kept(name: str):
    assert similarity(files(name), EMBED) == name


def test_cosine_is_the_default():
    assert similarity(files(), EMBED) == similarity(CheckpointFiles(config={}), EMBED) == "cosine"


def test_an_unknown_similarity_is_refused_where_score_would_use_it():
    with pytest.raises(ConfigError, match="unknown similarity_fn_name 'cosin'; did you mean 'cosine'"):
        similarity(files("cosin"), EMBED)
    assert similarity(files("MaxSim"), TOKENS) == "MaxSim"


@pytest.mark.parametrize("spec", [EMBED, CLASSES, REWARD], ids=["embed", "classes", "reward"])
def test_a_score_template_is_for_rerankers(spec: PoolingSpec):
    request = ExportRequest(model="m", score_template="nemotron_rerank")
    with pytest.raises(ConfigError, match="score_template is for rerankers: convert=classify with one label"):
        stored_template(request, spec)
    assert stored_template(ExportRequest(model="m"), spec) is None
    assert stored_template(request, CROSS) == score_template("nemotron_rerank")


@pytest.mark.parametrize(
    ("config", "spec", "template", "noted"),
    [
        ({"classifier_from_token": ["no", "yes"]}, CROSS, None, True),
        ({"is_original_qwen3_reranker": True}, CROSS, None, True),
        ({}, CONCAT, None, True),
        ({"classifier_from_token": ["no", "yes"]}, CROSS, "{{ }}", False),
        ({}, CROSS, None, False),
        ({}, EMBED, None, False),
        ({"classifier_from_token": ["no", "yes"]}, CLASSES, None, False),
    ],
)
def test_a_language_models_reranker_without_a_template_is_worth_a_note(config, spec, template, noted):
    note = template_note(files(**config), spec, TokenizerPolicy(max_length=9, score_template=template))
    assert (note is not None) == noted
    assert "--score-template" in (note or "--score-template")
