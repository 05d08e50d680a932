from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.parts import HeadStep
from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.poolers.resolve import resolve
from pool_export.poolers.spec import PoolingSpec, Task
from pool_export.runtime.errors import InputError
from pool_export.runtime.params import PoolingParams
from pool_export.runtime.postprocess import finish, normalize, required_output, sigmoid, softmax, softmax_or_sigmoid

DENSE = (HeadStep(kind="dense", path="2_Dense", in_features=4, out_features=4),)
EMBED = PoolingSpec(convert="embed", pooling=("MEAN",), hidden_size=4, activation="normalize", embedding_size=4)
PLAIN = dataclasses.replace(EMBED, use_activation=False)
TOKENS = dataclasses.replace(EMBED, pooling=("ALL",))
CLASSIFY = PoolingSpec(convert="classify", pooling=("CLS",), hidden_size=4, activation="softmax", num_labels=3)
REWARD = PoolingSpec(convert="reward", pooling=("ALL",), hidden_size=4, num_labels=2, use_activation=False)
PRM = dataclasses.replace(REWARD, pooling=("STEP",), step_tag_id=9)

OUTPUTS: dict[str, tuple[str, ...]] = {
    "embed": ("sentence_embedding", "last_hidden_state", "token_embeddings", "unnormalized_embedding"),
    "classify": ("logits", "probs"),
    "reward": ("rewards",),
}

vectors = npst.arrays(np.float32, 4, elements=st.floats(-100, 100, width=32)).filter(
    lambda v: np.linalg.norm(v[:2]) > 1e-2
)


def output(task: Task, spec: PoolingSpec, **params: Any) -> str:
    return required_output(task, spec, OUTPUTS[spec.convert], PoolingParams(**params))


def done(task: Task, spec: PoolingSpec, name: str, value: np.ndarray, ids: tuple[int, ...] = (), **params: Any):
    return finish(task, spec, PoolingParams(**params), name, np.asarray(value, np.float32), ids)


def close(left: Any, right: Any, tolerance: float = 1e-6) -> bool:
    return np.shape(left) == np.shape(right) and bool(np.allclose(left, right, rtol=0, atol=tolerance))


# -------------------------------------------------------------------------------------------- the functions


def test_normalize_gives_unit_rows_and_leaves_zero_rows():
    found = normalize(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert close(found, [[0.6, 0.8], [0, 0]])
    assert found.dtype == np.float32


@pytest.mark.parametrize("value", [-1e4, -80.0, 0.0, 3.0, 80.0, 1e4])
def test_sigmoid_and_softmax_do_not_overflow(value: float):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = sigmoid(np.array([value], np.float32))
        two = softmax(np.array([value, 0.0], np.float32))
    assert close(one, two[:1])
    assert 0 <= one[0] <= 1
    assert one.dtype == two.dtype == np.float32


def test_one_logit_is_a_sigmoid_and_more_are_a_softmax():
    assert close(softmax_or_sigmoid(np.array([[0.0], [np.log(3)]])), [[0.5], [0.75]])
    assert close(softmax_or_sigmoid(np.array([[0.0, 0.0], [np.log(3), 0.0]])), [[0.5, 0.5], [0.75, 0.25]])


@pytest.mark.parametrize("shape", [(0, 2), (0, 1), (3, 0)])
def test_nothing_stays_nothing(shape: tuple[int, int]):
    assert softmax_or_sigmoid(np.zeros(shape, np.float32)).shape == shape


# ------------------------------------------------------------------------------------- embed and Matryoshka


def test_embed_takes_the_vector_the_request_needs():
    assert output("embed", EMBED) == "sentence_embedding"
    assert output("embed", EMBED, normalize=True) == "sentence_embedding"
    assert output("embed", EMBED, dimensions=2) == "sentence_embedding"
    assert output("embed", EMBED, normalize=False) == "unnormalized_embedding"
    assert output("embed", PLAIN) == output("embed", PLAIN, use_activation=True) == "sentence_embedding"


def test_a_normalised_vector_passes_as_it_is():
    value = np.array([0.6, 0.8, 0, 0], np.float32)
    assert (done("embed", EMBED, "sentence_embedding", value) == value).all()


def test_a_model_without_normalisation_is_normalised_on_request():
    assert close(done("embed", PLAIN, "sentence_embedding", [3, 4, 0, 0]), [3, 4, 0, 0])
    assert close(done("embed", PLAIN, "sentence_embedding", [3, 4, 0, 0], normalize=True), [0.6, 0.8, 0, 0])


@given(vectors)
def test_slicing_the_normalised_vector_is_slicing_first(raw: np.ndarray):
    unit = normalize(raw)
    found = done("embed", EMBED, "sentence_embedding", unit, dimensions=2)
    assert close(found, normalize(raw[:2]), 2e-6)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_slicing_without_normalising_is_only_slicing():
    assert close(done("embed", EMBED, "unnormalized_embedding", [3, 4, 5, 6], normalize=False, dimensions=2), [3, 4])
    assert close(done("embed", PLAIN, "sentence_embedding", [3, 4, 5, 6], dimensions=2), [3, 4])


def test_the_full_size_is_no_slice():
    value = np.array([0.6, 0.8, 0, 0], np.float32)
    assert (done("embed", EMBED, "sentence_embedding", value, dimensions=4) == value).all()


def test_the_models_own_dimensions_are_the_default_and_a_request_overrides_them():
    short = dataclasses.replace(EMBED, dimensions=2)
    assert done("embed", short, "sentence_embedding", [0.6, 0, 0.8, 0]).shape == (2,)
    assert done("embed", short, "sentence_embedding", [0.6, 0, 0.8, 0], dimensions=3).shape == (3,)
    assert done("token_embed", short, "last_hidden_state", np.ones((5, 4))).shape == (5, 2)
    assert done("encode", short, "last_hidden_state", np.ones((5, 4))).shape == (5, 4), "states as they are"


# ------------------------------------------------------------------------------------------- token vectors


@pytest.mark.parametrize(
    ("task", "spec", "params", "name", "normalised"),
    [
        ("token_embed", EMBED, {}, "last_hidden_state", True),
        ("token_embed", EMBED, {"use_activation": False}, "last_hidden_state", False),
        ("token_embed", PLAIN, {}, "last_hidden_state", False),
        ("token_embed", PLAIN, {"normalize": True}, "last_hidden_state", True),
        ("encode", EMBED, {}, "last_hidden_state", False),
        ("encode", EMBED, {"use_activation": True}, "last_hidden_state", True),
        ("encode", EMBED, {"softmax": False}, "last_hidden_state", False),
        ("token_embed", dataclasses.replace(EMBED, steps=DENSE), {}, "token_embeddings", True),
        ("token_embed", dataclasses.replace(EMBED, steps=DENSE), {"normalize": False}, "token_embeddings", False),
        ("encode", dataclasses.replace(EMBED, steps=DENSE), {}, "token_embeddings", False),
        ("encode", TOKENS, {}, "last_hidden_state", False),
        ("token_embed", TOKENS, {"normalize": False}, "last_hidden_state", False),
        ("encode", dataclasses.replace(TOKENS, use_activation=False), {}, "token_embeddings", False),
    ],
)
def test_token_vectors_come_from_the_right_output(
    task: Task, spec: PoolingSpec, params: dict[str, Any], name: str, normalised: bool
):
    rows = np.array([[3, 4, 0, 0], [0, 0, 0, 2]], np.float32)
    assert output(task, spec, **params) == name
    assert close(done(task, spec, name, rows, **params), normalize(rows) if normalised else rows)


def test_a_token_level_head_is_normalised_in_the_graph():
    rows = normalize(np.array([[3, 4, 0, 0], [0, 0, 0, 2]], np.float32))
    assert output("token_embed", TOKENS) == "token_embeddings"
    assert (done("token_embed", TOKENS, "token_embeddings", rows) == rows).all()
    assert close(done("token_embed", TOKENS, "token_embeddings", rows, dimensions=1), [[1], [0]])


def test_encode_with_softmax_is_a_softmax_and_not_a_normalisation():
    rows = np.array([[0, 0, 0, 0], [np.log(5), 0, 0, np.log(2)]], np.float32)
    for spec in (EMBED, TOKENS):
        assert output("encode", spec, softmax=True) == "last_hidden_state"
        found = done("encode", spec, "last_hidden_state", rows, softmax=True)
        assert close(found, [[0.25] * 4, [5 / 9, 1 / 9, 1 / 9, 2 / 9]])


def test_what_the_graph_does_not_hold_is_refused_with_what_does_work():
    spec = dataclasses.replace(TOKENS, steps=DENSE)
    assert output("token_embed", spec) == "token_embeddings"
    for task, params in (("token_embed", {"normalize": False}), ("encode", {})):
        with pytest.raises(InputError, match="holds normalised token vectors only; use pooling_task='token_embed'"):
            output(task, spec, **params)


def test_dense_layers_over_a_concatenation_have_no_token_vectors():
    spec = dataclasses.replace(EMBED, pooling=("CLS", "MEAN"), steps=DENSE)
    with pytest.raises(InputError, match=r"this model has no token vectors: .*CLS and MEAN; `encode` returns"):
        output("token_embed", spec)
    assert output("encode", spec) == "last_hidden_state"


def test_an_output_that_an_older_export_lacks_says_so():
    with pytest.raises(InputError, match=r"no output 'unnormalized_embedding' \(it has a, b\); export the model again"):
        required_output("embed", EMBED, ("a", "b"), PoolingParams(normalize=False))


# ---------------------------------------------------------------------------------------------- classify


@pytest.mark.parametrize("task", ["classify", "score", "token_classify"])
def test_probabilities_unless_logits_are_asked_for(task: Task):
    assert output(task, CLASSIFY) == "probs"
    assert output(task, CLASSIFY, use_activation=False) == "logits"
    off = dataclasses.replace(CLASSIFY, use_activation=False)
    assert output(task, off) == "logits"
    assert output(task, off, use_activation=True) == "probs"


def test_logits_are_calibrated_on_the_host_and_probabilities_in_the_graph():
    spec = dataclasses.replace(CLASSIFY, logit_mean=1.0, logit_sigma=2.0)
    assert close(done("classify", spec, "logits", [1, 3, 5], use_activation=False), [0, 1, 2])
    assert close(done("classify", spec, "probs", [0.1, 0.2, 0.7]), [0.1, 0.2, 0.7])
    only_mean = dataclasses.replace(CLASSIFY, logit_mean=2.65)
    assert close(done("score", only_mean, "logits", [2.65], use_activation=False), [0])


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("softmax", [[0.25, 0.75]]),
        ("sigmoid", [[0.5, 0.75]]),
        ("identity", [[0.0, np.log(3)]]),
        ("tanh", [[0.0, 0.8]]),
        ("relu", [[0.0, np.log(3)]]),
        ("silu", [[0.0, 0.75 * np.log(3)]]),
        ("gelu", [[0.0, 0.5 * np.log(3) * (1 + math.erf(np.log(3) / 2**0.5))]]),
    ],
)
def test_a_step_classifier_selects_rows_before_its_activation(activation: Any, expected: list[list[float]]):
    spec = dataclasses.replace(CLASSIFY, pooling=("STEP",), step_tag_id=9, activation=activation, num_labels=2)
    logits = np.array([[7.0, 7.0], [0.0, np.log(3)], [7.0, 7.0]])
    assert output("token_classify", spec) == "logits"
    assert close(done("token_classify", spec, "logits", logits, (1, 9, 2)), expected)
    assert close(done("token_classify", spec, "logits", logits, (1, 9, 2), use_activation=False), logits[1:2])


def test_a_step_classifier_selects_columns_before_its_activation():
    spec = dataclasses.replace(CLASSIFY, pooling=("STEP",), step_tag_id=9, returned_token_ids=(2, 0))
    found = done("token_classify", spec, "logits", [[np.log(3), 50.0, 0.0]], (9,))
    assert close(found, [[0.25, 0.75]])


# ------------------------------------------------------------------------------------------------ reward

REWARDS = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)


@pytest.mark.parametrize("task", ["reward", "token_classify", "encode"])
def test_rewards_are_raw_unless_asked(task: Task):
    assert output(task, REWARD) == "rewards"
    assert (done(task, REWARD, "rewards", REWARDS) == REWARDS).all()
    found = done(task, REWARD, "rewards", [[0.0, np.log(3)]], use_activation=True)
    assert close(found, [[0.25, 0.75]])
    assert close(done(task, REWARD, "rewards", [[np.log(3)]], softmax=True), [[0.75]])


def test_rewards_are_activated_where_the_users_pooler_config_said_so():
    files = CheckpointFiles(config={"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 4})
    said = resolve(files, convert="reward", pooler_config=PoolerConfig(use_activation=True))
    assert close(done("reward", said, "rewards", [[0.0, np.log(3)]]), [[0.25, 0.75]])
    assert close(done("reward", said, "rewards", [[0.0, 1.0]], softmax=False), [[0, 1]])
    unsaid = resolve(files, convert="reward")
    assert close(done("reward", unsaid, "rewards", [[0.0, 1.0]]), [[0, 1]])


def test_step_keeps_the_rows_of_its_token():
    assert (done("reward", PRM, "rewards", REWARDS, (1, 9, 2, 9)) == REWARDS[[1, 3]]).all()
    assert (done("reward", PRM, "rewards", REWARDS, (1, 9, 2, 9), step_tag_id=2) == REWARDS[[2]]).all()


def test_a_text_without_a_step_has_no_reward():
    found = done("reward", PRM, "rewards", REWARDS, (1, 2, 3, 4))
    assert found.shape == (0, 2)
    assert done("reward", PRM, "rewards", REWARDS, (1, 2, 3, 4), use_activation=True).shape == (0, 2)


def test_step_selects_columns_then_rows_then_activates():
    columns = dataclasses.replace(PRM, returned_token_ids=(1,))
    assert close(done("reward", columns, "rewards", REWARDS, (1, 9, 2, 9)), [[4], [8]])
    both = done("reward", PRM, "rewards", REWARDS, (1, 9, 2, 9), returned_token_ids=[1, 0])
    assert close(both, [[4, 3], [8, 7]])
    one = done("reward", columns, "rewards", [[5.0, np.log(3)]], (9,), use_activation=True)
    assert close(one, [[0.75]]), "the softmax of two columns became the sigmoid of one"


@pytest.mark.parametrize("columns", [(2,), (-1,), (0, 7)])
def test_a_column_that_is_not_there_is_named(columns: tuple[int, ...]):
    with pytest.raises(InputError, match=r"returned_token_ids \[-?\d\] are outside the 2 columns of this model"):
        done("reward", PRM, "rewards", REWARDS, (9, 9, 9, 9), returned_token_ids=columns)


def test_a_head_that_is_not_step_keeps_every_row():
    assert (done("reward", REWARD, "rewards", REWARDS, (9, 9, 1, 1)) == REWARDS).all()


def test_step_token_vectors_are_chosen_and_normalised():
    spec = dataclasses.replace(TOKENS, pooling=("STEP",), step_tag_id=9)
    rows = normalize(np.array([[1, 0, 0, 0], [3, 4, 0, 0]], np.float32))
    assert close(done("token_embed", spec, "token_embeddings", rows, (1, 9)), [[0.6, 0.8, 0, 0]])
    columns = dataclasses.replace(spec, returned_token_ids=(1, 3))
    assert close(done("token_embed", columns, "token_embeddings", rows, (1, 9)), [[1, 0]])
