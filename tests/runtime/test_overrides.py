from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.poolers.spec import PoolingSpec, TracedHead
from pool_export.runtime.errors import BundleError, InputError
from pool_export.runtime.overrides import overridden
from pool_export.runtime.params import PoolingParams

EMBED = PoolingSpec(convert="embed", pooling=("MEAN",), hidden_size=6, embedding_size=6, activation="normalize")
CLASSIFY = PoolingSpec(convert="classify", pooling=("CLS",), hidden_size=6, num_labels=3, activation="softmax")
STEP = PoolingSpec(convert="reward", pooling=("STEP",), hidden_size=6, num_labels=2, step_tag_id=4)
MATRYOSHKA = {"hf_overrides": {"is_matryoshka": True}}


def changed(spec: PoolingSpec, pooler: Any = None, hf: Any = None) -> PoolingSpec:
    return overridden(spec, pooler, hf)


def test_nothing_asked_changes_nothing():
    for pooler in (None, {}, PoolerConfig(), {"pooling_type": "mean"}):
        assert changed(EMBED, pooler, {}) is EMBED


@pytest.mark.parametrize(
    ("spec", "pooler", "hf", "fields"),
    [
        (EMBED, None, {"is_matryoshka": True}, {"is_matryoshka": True}),
        (EMBED, None, {"matryoshka_dimensions": [2, 4]}, {"is_matryoshka": True, "matryoshka_dimensions": (2, 4)}),
        (EMBED, {"dimensions": 4}, {"is_matryoshka": True}, {"is_matryoshka": True, "dimensions": 4}),
        (EMBED, {"normalize": False}, None, {"use_activation": False}),
        (CLASSIFY, {"activation": False}, None, {"use_activation": False}),
        (CLASSIFY, {"logit_bias": 2}, None, {"logit_mean": 2}),
        (CLASSIFY, {"logit_mean": 1.5, "logit_sigma": 2.0}, None, {"logit_mean": 1.5, "logit_sigma": 2.0}),
        (STEP, {"step_tag_id": 7}, None, {"step_tag_id": 7}),
        (STEP, {"returned_token_ids": [1]}, None, {"returned_token_ids": (1,)}),
        (STEP, {"softmax": True}, None, {"use_activation": True}),
    ],
)
def test_what_the_host_computes_can_be_chosen(spec, pooler, hf, fields: dict[str, Any]):
    found = changed(spec, pooler, hf)
    assert {name: getattr(found, name) for name in fields} == fields
    assert {name for name, source in found.sources.items() if source == "user"} == set(fields)
    assert found.in_graph == spec.in_graph == TracedHead(use_activation=True)


@pytest.mark.parametrize(
    ("spec", "pooler", "hf", "message"),
    [
        (
            EMBED,
            {"pooling_type": "CLS"},
            None,
            r"pooling type CLS \(this bundle pools MEAN\) can only be chosen at exp",
        ),
        (EMBED, None, {"num_labels": 3}, "hf_overrides 'num_labels' can only be chosen at export: run pool-export"),
        (CLASSIFY, None, {"is_matryoshka": True}, "hf_overrides 'is_matryoshka' can only be chosen at export"),
        (EMBED, None, {"matryoshka_dimensions": [8]}, r"must be a list of sizes in \[1, 6\], got \[8\]"),
        (EMBED, None, {"matryoshka_dimensions": 4}, "must be a list of sizes"),
        (EMBED, None, {"is_matryoshka": "yes"}, "is_matryoshka must be true or false, got 'yes'"),
    ],
)
def test_what_only_an_export_can_honour_is_refused_by_name(spec, pooler, hf, message: str):
    with pytest.raises(BundleError, match=message):
        changed(spec, pooler, hf)


@pytest.mark.parametrize(
    ("spec", "pooler", "message"),
    [
        (EMBED, {"dimensions": 4}, "dimensions needs a Matryoshka model"),
        (EMBED, {"step_tag_id": 4}, "need pooling type STEP, got MEAN"),
        (EMBED, {"logit_mean": 1.0}, "logit_mean/logit_sigma apply to convert=classify"),
        (CLASSIFY, {"logit_sigma": 0}, "logit_sigma cannot be 0"),
        (EMBED, {"dimension": 4}, "unknown pooler-config key 'dimension'; did you mean 'dimensions'"),
    ],
)
def test_a_setting_this_head_does_not_have_is_refused(spec, pooler, message: str):
    with pytest.raises(ConfigError, match=message):
        changed(spec, pooler)


def test_a_list_of_sizes_makes_a_matryoshka_model_whatever_the_switch_says():
    found = changed(EMBED, None, {"is_matryoshka": False, "matryoshka_dimensions": [2]})
    assert found.is_matryoshka
    assert not changed(found, None, {"matryoshka_dimensions": []}).is_matryoshka


# ----------------------------------------------------------------------------------------------- through LLM


def test_a_finished_bundle_becomes_matryoshka(fake_llm, states):
    llm = fake_llm("embed", options=MATRYOSHKA)
    (found,) = llm.embed("one two", pooling_params=PoolingParams(dimensions=3))
    raw = states(found.prompt_token_ids).mean(axis=0)[:3]
    np.testing.assert_allclose(found.outputs.data, raw / np.linalg.norm(raw), rtol=1e-5)
    with pytest.raises(InputError, match=r"only supports dimensions in range \[1, 6\], got 7"):
        llm.embed("one", pooling_params=PoolingParams(dimensions=7))


def test_a_finished_bundle_gets_a_list_of_sizes_and_a_default(fake_llm):
    options = {"hf_overrides": {"matryoshka_dimensions": [2, 4]}, "pooler_config": {"dimensions": 4}}
    llm = fake_llm("embed", options=options)
    assert llm.embed("one")[0].outputs.hidden_size == 4
    assert llm.embed("one", pooling_params=PoolingParams(dimensions=2))[0].outputs.hidden_size == 2
    with pytest.raises(InputError, match=r"only supports \[2, 4\] matryoshka dimensions"):
        llm.embed("one", pooling_params=PoolingParams(dimensions=3))


@pytest.mark.parametrize("exported", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_the_default_of_normalisation_is_the_users(fake_llm, states, exported: bool, wanted: bool):
    llm = fake_llm("embed", use_activation=exported, options={"pooler_config": {"normalize": wanted}})
    (found,) = llm.embed("one two")
    raw = states(found.prompt_token_ids).mean(axis=0)
    np.testing.assert_allclose(found.outputs.data, raw / np.linalg.norm(raw) if wanted else raw, rtol=1e-5)
    (other,) = llm.embed("one two", pooling_params=PoolingParams(normalize=not wanted))
    np.testing.assert_allclose(other.outputs.data, raw if wanted else raw / np.linalg.norm(raw), rtol=1e-5)


@pytest.mark.parametrize("exported", [None, 0.5])
def test_another_calibration_is_applied_to_the_logits(fake_llm, exported: float | None):
    plain = fake_llm("classify", logit_mean=exported)
    llm = fake_llm("classify", logit_mean=exported, options={"pooler_config": {"logit_mean": 1.5, "logit_sigma": 2.0}})
    off = PoolingParams(activation=False)
    (logits,) = fake_llm("classify").classify("one", pooling_params=off)
    wanted = (logits.outputs.data - 1.5) / 2
    np.testing.assert_allclose(llm.classify("one", pooling_params=off)[0].outputs.data, wanted, rtol=1e-5)
    (found,) = llm.classify("one")
    np.testing.assert_allclose(found.outputs.data, np.exp(wanted) / np.exp(wanted).sum(), rtol=1e-5)
    assert llm.engine.session.calls[-1][1] == ("logits",)
    plain.classify("one")
    assert plain.engine.session.calls[-1][1] == ("probs",)


def test_the_last_function_can_be_switched_off_for_all(fake_llm):
    llm = fake_llm("classify", options={"pooler_config": {"use_activation": False}})
    (found,), (off,) = (
        llm.classify("one"),
        fake_llm("classify").classify("one", pooling_params=PoolingParams(activation=False)),
    )
    np.testing.assert_array_equal(found.outputs.data, off.outputs.data)


def test_steps_follow_the_users_tag(fake_llm):
    llm = fake_llm(
        "reward", pooling=("STEP",), step_tag_id=4,
        options={"pooler_config": {"step_tag_id": 6, "returned_token_ids": [1]}},
    )  # fmt: skip
    (found,) = llm.reward("one two one")
    assert found.outputs.data.shape == (2, 1)


def test_the_manifest_on_disk_stays_as_it_was(fake_llm):
    llm = fake_llm("embed", options=MATRYOSHKA)
    text = llm.engine.bundle.path("pool_export.json").read_text()
    assert '"is_matryoshka": false' in text
    assert llm.spec.sources["is_matryoshka"] == "user"
