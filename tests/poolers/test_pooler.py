"""The graph contract at its source: names, order, shapes and numbers of a head's outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pool_export.poolers.heads import Step
from pool_export.poolers.parts import HeadStep
from pool_export.poolers.pooler import Pooler
from pool_export.poolers.spec import PoolingSpec

# Two texts of two features; the second is one token and one padding.
HIDDEN = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, -2.0], [9.0, 9.0]]])
MASK = torch.tensor([[1, 1], [1, 0]])

# Three labels: x, y, and the negated sum.
CLASSIFIER = nn.Linear(2, 3, bias=False)
CLASSIFIER.weight = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), requires_grad=False)

DOUBLE = HeadStep(kind="dense", path="2_Dense", in_features=2, out_features=1, bias=False)


def double():
    """One feature out of two: twice the first plus the second."""
    return Step(DOUBLE, {"linear.weight": torch.tensor([[2.0, 1.0]])})


def spec(convert, pooling="CLS", **fields):
    kinds = pooling if isinstance(pooling, tuple) else (pooling,)
    return PoolingSpec(convert=convert, pooling=kinds, hidden_size=2, **fields)


def assert_close(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- embed


@pytest.mark.parametrize(
    ("fields", "steps", "names"),
    [
        ({}, 0, ["sentence_embedding", "last_hidden_state", "unnormalized_embedding"]),
        ({"use_activation": False}, 0, ["sentence_embedding", "last_hidden_state"]),
        (
            {"steps": (DOUBLE,)},
            1,
            ["sentence_embedding", "last_hidden_state", "token_embeddings", "unnormalized_embedding"],
        ),
        (
            {"steps": (DOUBLE,), "use_activation": False},
            1,
            ["sentence_embedding", "last_hidden_state", "token_embeddings"],
        ),
        ({"pooling": "ALL"}, 0, ["token_embeddings", "last_hidden_state"]),
        ({"pooling": "STEP", "step_tag_id": 1}, 0, ["token_embeddings", "last_hidden_state"]),
        ({"pooling": ("CLS", "MEAN")}, 0, ["sentence_embedding", "last_hidden_state", "unnormalized_embedding"]),
    ],
)
def test_embed_outputs_in_their_order(fields, steps, names):
    outputs = Pooler(spec("embed", **fields), [double() for _ in range(steps)])(HIDDEN, MASK)
    assert list(outputs) == names


def test_concatenated_pooling_has_no_projected_tokens():
    """Dense layers after a concatenation are wider than a token."""
    step = HeadStep(kind="dense", path="2_Dense", in_features=4, out_features=1, bias=False)
    layer = Step(step, {"weight": torch.ones(1, 4)})
    outputs = Pooler(spec("embed", ("CLS", "MEAN"), steps=(step,)), [layer])(HIDDEN, MASK)
    assert list(outputs) == ["sentence_embedding", "last_hidden_state", "unnormalized_embedding"]
    assert_close(outputs["unnormalized_embedding"], [[3.0 + 4.0 + 2.0 + 2.0], [-4.0]])


def test_a_normalised_embedding_and_the_raw_one():
    outputs = Pooler(spec("embed"))(HIDDEN, MASK)
    assert_close(outputs["sentence_embedding"], [[0.6, 0.8], [0.0, -1.0]])
    assert_close(outputs["unnormalized_embedding"], [[3.0, 4.0], [0.0, -2.0]])
    assert_close(outputs["last_hidden_state"], HIDDEN)


def test_without_activation_the_embedding_is_raw():
    outputs = Pooler(spec("embed", "MEAN", use_activation=False))(HIDDEN, MASK)
    assert_close(outputs["sentence_embedding"], [[2.0, 2.0], [0.0, -2.0]])


def test_steps_come_after_pooling_and_before_normalising():
    outputs = Pooler(spec("embed", "MEAN", steps=(DOUBLE,)), [double()])(HIDDEN, MASK)
    assert_close(outputs["unnormalized_embedding"], [[6.0], [-2.0]])
    assert_close(outputs["sentence_embedding"], [[1.0], [-1.0]])


def test_projected_tokens_are_not_normalised():
    outputs = Pooler(spec("embed", "MEAN", steps=(DOUBLE,)), [double()])(HIDDEN, MASK)
    assert_close(outputs["token_embeddings"][0], [[10.0], [2.0]])
    assert outputs["token_embeddings"].shape == (2, 2, 1)


def test_a_normalize_in_mid_chain_is_applied_there():
    steps = (HeadStep(kind="normalize"), DOUBLE)
    pooler = Pooler(spec("embed", steps=steps, use_activation=False), [Step(steps[0], {}), double()])
    assert_close(pooler(HIDDEN, MASK)["sentence_embedding"], [[2.0], [-1.0]])  # 2·0.6 + 0.8; 0 - 1


@pytest.mark.parametrize("pooling", ["ALL", "STEP"])
def test_token_level_embeddings_are_normalised_and_zero_on_padding(pooling):
    outputs = Pooler(spec("embed", pooling, step_tag_id=1))(HIDDEN, MASK)
    assert_close(outputs["token_embeddings"], [[[0.6, 0.8], [1.0, 0.0]], [[0.0, -1.0], [0.0, 0.0]]])
    assert_close(outputs["last_hidden_state"], HIDDEN)


def test_token_level_embeddings_without_activation_are_projected_only():
    outputs = Pooler(spec("embed", "ALL", steps=(DOUBLE,), use_activation=False), [double()])(HIDDEN, MASK)
    assert_close(outputs["token_embeddings"], [[[10.0], [2.0]], [[-2.0], [0.0]]])


# ------------------------------------------------------------------------------------------------- classify


def classify(pooling="CLS", **fields):
    return Pooler(spec("classify", pooling, num_labels=3, **fields), classifier=CLASSIFIER)


def test_logits_are_raw_and_probs_are_activated():
    outputs = classify(activation="softmax")(HIDDEN, MASK)
    assert list(outputs) == ["logits", "probs"]
    assert_close(outputs["logits"], [[3.0, 4.0, -7.0], [0.0, -2.0, 2.0]])
    # exp(0), exp(-2), exp(2) over their sum
    assert_close(outputs["probs"][1], [0.11731043, 0.01587624, 0.86681333])
    assert_close(outputs["probs"].sum(dim=-1), [1.0, 1.0])


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("identity", [0.0, -2.0, 2.0]),
        ("sigmoid", [0.5, 0.11920292, 0.88079708]),
    ],
)
def test_other_activations(activation, expected):
    assert_close(classify(activation=activation)(HIDDEN, MASK)["probs"][1], expected)


def test_calibration_is_in_probs_and_not_in_logits():
    outputs = classify(activation="identity", logit_mean=1.0, logit_sigma=2.0)(HIDDEN, MASK)
    assert_close(outputs["logits"][1], [0.0, -2.0, 2.0])
    assert_close(outputs["probs"][1], [-0.5, -1.5, 0.5])


def test_the_jina_calibration_is_centred():
    """logit_mean 2.65 and a sigmoid: a logit of 2.65 is a coin toss."""
    head = PoolingSpec(
        convert="classify", pooling=("CLS",), hidden_size=1, num_labels=1, activation="sigmoid", logit_mean=2.65
    )
    outputs = Pooler(head, classifier=nn.Identity())(torch.tensor([[[2.65]]]), torch.tensor([[1]]))
    assert_close(outputs["probs"], [[0.5]])


def test_without_activation_by_default_both_outputs_are_there_all_the_same():
    """The switch is per request: the host takes `logits` or `probs`."""
    on, off = (classify(activation="softmax", use_activation=value)(HIDDEN, MASK) for value in (True, False))
    assert list(off) == ["logits", "probs"]
    assert_close(off["probs"], on["probs"])


def test_the_classifier_sees_the_pooled_vector():
    assert_close(classify("MEAN", activation="identity")(HIDDEN, MASK)["logits"], [[2.0, 2.0, -4.0], [0.0, -2.0, 2.0]])
    assert_close(classify("LAST", activation="identity")(HIDDEN, MASK)["logits"], [[1.0, 0.0, -1.0], [0.0, -2.0, 2.0]])


def test_token_classification_has_one_row_a_token():
    outputs = classify("ALL", activation="softmax")(HIDDEN, MASK)
    assert outputs["logits"].shape == outputs["probs"].shape == (2, 2, 3)
    assert_close(outputs["logits"][0], [[3.0, 4.0, -7.0], [1.0, 0.0, -1.0]])
    assert_close(outputs["probs"].sum(dim=-1), [[1.0, 1.0], [1.0, 1.0]])


# --------------------------------------------------------------------------------------------------- reward


@pytest.mark.parametrize("pooling", ["ALL", "STEP"])
def test_rewards_are_raw_per_token_and_zero_on_padding(pooling):
    head = spec("reward", pooling, step_tag_id=1, num_labels=3)
    outputs = Pooler(head, classifier=nn.Sequential(CLASSIFIER, nn.ReLU(), nn.Linear(3, 1)))(HIDDEN, MASK)
    assert list(outputs) == ["rewards"]
    assert outputs["rewards"].shape == (2, 2, 1)
    raw = Pooler(head, classifier=CLASSIFIER)(HIDDEN, MASK)["rewards"]
    assert_close(raw, [[[3.0, 4.0, -7.0], [1.0, 0.0, -1.0]], [[0.0, -2.0, 2.0], [0.0, 0.0, 0.0]]])


def test_a_headless_reward_is_the_hidden_states():
    outputs = Pooler(spec("reward", "ALL"))(HIDDEN, MASK)
    assert_close(outputs["rewards"], [[[3.0, 4.0], [1.0, 0.0]], [[0.0, -2.0], [0.0, 0.0]]])


# ------------------------------------------------------------------------------------------- for every head

EVERY_HEAD = {
    "embed": lambda: Pooler(spec("embed", "MEAN")),
    "embed with steps": lambda: Pooler(spec("embed", "LAST", steps=(DOUBLE,)), [double()]),
    "embed tokens": lambda: Pooler(spec("embed", "ALL")),
    "classify": lambda: classify(activation="softmax"),
    "classify tokens": lambda: classify("ALL", activation="sigmoid"),
    "reward": lambda: Pooler(spec("reward", "ALL", num_labels=3), classifier=CLASSIFIER),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("head", EVERY_HEAD)
def test_outputs_are_float32_whatever_the_backbone_computes_in(head, dtype):
    outputs = EVERY_HEAD[head]()(HIDDEN.to(dtype), MASK)
    assert {value.dtype for value in outputs.values()} == {torch.float32}
    expected = EVERY_HEAD[head]()(HIDDEN, MASK)
    for name, value in outputs.items():
        assert_close(value, expected[name])


@pytest.mark.parametrize("head", EVERY_HEAD)
def test_a_fully_padded_row_is_finite_and_changes_no_other(head):
    pooler = EVERY_HEAD[head]()
    mask = MASK.clone()
    mask[1] = 0
    with_empty, full = pooler(HIDDEN, mask), pooler(HIDDEN, MASK)
    for name, value in with_empty.items():
        assert torch.isfinite(value).all(), name
        assert_close(value[0], full[name][0])


@pytest.mark.parametrize("head", EVERY_HEAD)
def test_nan_under_the_padding_stays_there(head):
    hidden = HIDDEN.clone()
    hidden[1, 1] = float("nan")
    outputs, expected = EVERY_HEAD[head]()(hidden, MASK), EVERY_HEAD[head]()(HIDDEN, MASK)
    for name, value in outputs.items():
        kept = MASK.bool() if value.dim() == 3 else ...
        assert_close(value[kept], expected[name][kept])


@pytest.mark.parametrize(("head", "name"), [("embed tokens", "token_embeddings"), ("reward", "rewards")])
def test_token_level_answers_are_zero_where_attention_gave_nan(head, name):
    hidden = HIDDEN.clone()
    hidden[1, 1] = float("nan")
    assert_close(EVERY_HEAD[head]()(hidden, MASK)[name][1, 1].abs().sum(), 0.0)
