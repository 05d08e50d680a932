from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pool_export
from pool_export import LLM, InputError, PoolingParams
from pool_export.models_zoo.texts import sentences
from pool_export.runtime.errors import BundleError
from pool_export.runtime.prompts import PromptTypeError

TEXTS = ["A man is playing a guitar.", "Someone plays music.", "The stock market fell."]


def vectors(outputs: list[Any]) -> np.ndarray:
    return np.stack([item.outputs.data for item in outputs])


def quiet(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return method(*args, use_tqdm=False, **options)


# -------------------------------------------------------------------------------------------- signatures

# The seed's (vLLM 0.11) keyword names; 0.32 added tokenization_kwargs to all of them.
KEYWORDS = {"truncate_prompt_tokens", "use_tqdm", "pooling_params", "lora_request", "tokenization_kwargs"}
# Ours: sentence-transformers' prompts; vLLM's score template, and what its servers take beside it.
PROMPTS = {"prompt", "prompt_name"}
PAIRS = {"chat_template", "chat_template_kwargs", "instruction", "max_tokens_per_query", "max_tokens_per_doc"}
SIGNATURES = {
    "embed": (["prompts"], KEYWORDS | PROMPTS),
    "classify": (["prompts"], KEYWORDS),
    "reward": (["prompts"], KEYWORDS),
    "score": (["data_1", "data_2"], KEYWORDS | PAIRS | {"query_prompt_name", "document_prompt_name"}),
    "encode": (
        ["prompts", "pooling_params"],
        KEYWORDS - {"pooling_params"} | {"pooling_task", "input_type"} | PROMPTS,
    ),
}


@pytest.mark.parametrize("method", SIGNATURES)
def test_a_method_takes_vllms_arguments_under_vllms_names(method: str):
    positional, keywords = SIGNATURES[method]
    found = list(inspect.signature(getattr(LLM, method)).parameters.values())[1:]
    assert [item.name for item in found if item.kind is not item.KEYWORD_ONLY] == positional
    assert {item.name for item in found if item.kind is item.KEYWORD_ONLY} == keywords
    assert all(item.default is item.empty for item in found if item.name in ("prompts", "data_1", "data_2"))


@pytest.mark.parametrize("method", SIGNATURES)
def test_the_defaults_are_vllms(method: str):
    defaults = {name: item.default for name, item in inspect.signature(getattr(LLM, method)).parameters.items()}
    assert defaults["use_tqdm"] is True
    for name in ("truncate_prompt_tokens", "pooling_params", "lora_request", "tokenization_kwargs"):
        assert defaults[name] is None


def test_the_two_sides_of_score_are_positional_only():
    parameters = inspect.signature(LLM.score).parameters
    assert {parameters[name].kind for name in ("data_1", "data_2")} == {inspect.Parameter.POSITIONAL_ONLY}


def test_the_constructor_takes_vllms_arguments():
    parameters = inspect.signature(LLM).parameters
    for name in (
        "runner",
        "convert",
        "pooler_config",
        "hf_overrides",
        "trust_remote_code",
        "revision",
        "max_model_len",
    ):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert next(iter(parameters)) == "model"


def test_the_root_serves_the_same_class():
    assert pool_export.LLM is LLM


# ------------------------------------------------------------------------------------------------ embed


def test_embed_answers_one_unit_vector_a_prompt(minilm: LLM):
    outputs = quiet(minilm.embed, TEXTS)
    assert [output.outputs.hidden_size for output in outputs] == [384] * 3
    np.testing.assert_allclose(np.linalg.norm(vectors(outputs), axis=1), 1, atol=1e-6)
    assert outputs[0].outputs.embedding == pytest.approx(outputs[0].outputs.data.tolist())


def test_embed_finds_the_related_text(minilm: LLM):
    one, two, other = vectors(quiet(minilm.embed, TEXTS))
    assert one @ two > 0.3 > one @ other


def test_every_form_of_a_prompt_gives_the_same_answer(minilm: LLM):
    (want,) = minilm.embed(TEXTS[0])
    ids = want.prompt_token_ids
    forms = [
        [TEXTS[0]],
        {"prompt": TEXTS[0]},
        ids,
        tuple(ids),
        [ids],
        {"prompt_token_ids": ids},
        [{"prompt": TEXTS[0]}],
    ]
    for form in forms:
        (found,) = minilm.embed(form)
        assert found.prompt_token_ids == ids
        assert (found.outputs.data == want.outputs.data).all()


def test_a_mixed_list_keeps_its_order(minilm: LLM):
    ids = minilm.embed(TEXTS[1])[0].prompt_token_ids
    outputs = quiet(minilm.embed, [TEXTS[2], ids, {"prompt": TEXTS[0]}, {"prompt_token_ids": ids}])
    want = vectors([minilm.embed(text)[0] for text in (TEXTS[2], TEXTS[1], TEXTS[0], TEXTS[1])])
    np.testing.assert_allclose(vectors(outputs), want, atol=2e-6)
    assert outputs[1].prompt_token_ids == outputs[3].prompt_token_ids == ids


def test_order_is_restored_over_many_batches(fake_llm: Callable[..., LLM], states):
    llm = fake_llm(options={"max_batch_size": 2, "max_batch_tokens": 12})
    prompts = [" ".join(["one", "two", "three", "four"][: 1 + index * 7 % 4]) for index in range(23)]
    outputs = quiet(llm.embed, prompts, pooling_params=PoolingParams(normalize=False))
    assert len(llm.engine.session.calls) > 8
    for prompt, output in zip(prompts, outputs, strict=True):
        assert len(output.prompt_token_ids) == len(prompt.split()) + 2
        np.testing.assert_allclose(output.outputs.data, states(output.prompt_token_ids).mean(axis=0), rtol=1e-5)


def test_request_ids_count_the_prompts(minilm: LLM):
    assert [output.request_id for output in quiet(minilm.embed, TEXTS)] == ["0", "1", "2"]


def test_the_token_ids_that_ran_are_reported(fake_llm):
    (output,) = fake_llm().embed("zero one two three", truncate_prompt_tokens=4)
    assert output.prompt_token_ids == [1, 5, 6, 2]


def test_without_normalisation_the_vector_is_raw_and_normalises_to_the_default(minilm: LLM):
    raw = vectors(quiet(minilm.embed, TEXTS, pooling_params=PoolingParams(normalize=False)))
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    assert (np.abs(norms - 1) > 0.1).all()
    np.testing.assert_allclose(raw / norms, vectors(quiet(minilm.embed, TEXTS)), atol=1e-6)


def test_parameters_may_differ_within_one_call(minilm: LLM):
    params = [PoolingParams(normalize=False), PoolingParams(), PoolingParams(truncate_prompt_tokens=5)]
    outputs = quiet(minilm.embed, TEXTS, pooling_params=params)
    norms = [float(np.linalg.norm(output.outputs.data)) for output in outputs]
    assert abs(norms[0] - 1) > 0.1
    assert norms[1:] == pytest.approx([1, 1], abs=1e-6)
    assert [len(output.prompt_token_ids) for output in outputs] == [9, 6, 5]


def test_a_list_of_parameters_must_be_as_long_as_the_prompts(minilm: LLM):
    with pytest.raises(InputError, match=r"The lengths of prompts \(3\) and params \(2\) must be the same\."):
        minilm.embed(TEXTS, pooling_params=[PoolingParams()] * 2)


def test_matryoshka_dimensions_of_a_model_that_has_none_are_refused_by_its_name(minilm: LLM):
    with pytest.raises(InputError) as caught:
        minilm.embed(TEXTS, pooling_params=PoolingParams(dimensions=32))
    assert str(caught.value) == (
        f'Model "{minilm.engine.bundle.name}" does not support matryoshka representation, '
        "changing output dimensions will lead to poor results."
    )


def test_matryoshka_vectors_are_cut_and_unit_again(fake_llm, states):
    llm = fake_llm(is_matryoshka=True, matryoshka_dimensions=(2, 4))
    (output,) = llm.embed("one two", pooling_params=PoolingParams(dimensions=4))
    raw = states(output.prompt_token_ids).mean(axis=0)[:4]
    np.testing.assert_allclose(output.outputs.data, raw / np.linalg.norm(raw), rtol=1e-5)
    with pytest.raises(InputError, match=r'Model "acme/fake" only supports \[2, 4\] matryoshka dimensions'):
        llm.embed("one two", pooling_params=PoolingParams(dimensions=3))


def test_over_long_input_is_an_error_unless_truncated(minilm: LLM):
    text = "word " * 1000
    with pytest.raises(InputError, match=r"maximum context length is 256 tokens\. .* 1002 input tokens"):
        minilm.embed(text)
    (cut,) = minilm.embed(text, truncate_prompt_tokens=-1)
    (also,) = minilm.embed(text, tokenization_kwargs={"truncate_prompt_tokens": 256})
    (same,) = minilm.embed("word " * 254)
    assert cut.prompt_token_ids == also.prompt_token_ids == same.prompt_token_ids
    assert (cut.outputs.data == same.outputs.data).all()


def test_wrong_prompts_are_refused(minilm: LLM):
    with pytest.raises(PromptTypeError, match="Prompt should be a string"):
        minilm.embed(5)
    with pytest.raises(InputError, match="You must pass at least one prompt"):
        minilm.embed([])
    with pytest.raises(InputError, match="Token id 30522 is out of vocabulary"):
        minilm.embed([101, 30522, 102])
    with pytest.raises(InputError, match="merge the LoRA adapter"):
        minilm.embed("text", lora_request=object())


# --------------------------------------------------------------------------------------------- invariance


def test_an_answer_does_not_depend_on_the_texts_beside_it(minilm: LLM):
    text = TEXTS[0]
    alone = vectors(minilm.embed(text))[0]
    crowd = [text, *sentences()[:63]]
    gaps = {
        "in a batch of 64": np.abs(vectors(quiet(minilm.embed, crowd))[0] - alone).max(),
        "beside the longest": np.abs(vectors(quiet(minilm.embed, ["word " * 254, text]))[1] - alone).max(),
        "in one forward of 64": np.abs(one_forward(minilm, crowd)[0] - alone).max(),
    }
    for name, gap in gaps.items():
        assert gap <= 2e-6, f"{name}: {gap:.1e}"


def one_forward(llm: LLM, texts: list[str]) -> np.ndarray:
    """All texts in a single padded batch, whatever the engine would plan."""
    tokenizer, session = llm.engine.tokenizer, llm.engine.session
    encoded = [item for output in quiet(llm.embed, texts) for item in [output.prompt_token_ids]]
    longest = max(map(len, encoded))
    ids = np.array([item + [tokenizer.policy.pad_token_id] * (longest - len(item)) for item in encoded])
    mask = np.array([[1] * len(item) + [0] * (longest - len(item)) for item in encoded])
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return session.run(feeds, ["sentence_embedding"])["sentence_embedding"]


@pytest.mark.parametrize("family", ["bert", "qwen3"])
def test_a_batch_limit_changes_no_answer(tiny_bundle: Callable[..., Path], family: str):
    texts = sentences()[:40]
    want = vectors(quiet(LLM(tiny_bundle(family), device="cpu", max_batch_size=1).embed, texts))
    for limits in ({"max_batch_size": 7}, {"max_batch_tokens": 64}, {}):
        found = vectors(quiet(LLM(tiny_bundle(family), device="cpu", **limits).embed, texts))
        np.testing.assert_allclose(found, want, atol=2e-6)


def test_threads_share_a_model(minilm: LLM):
    batches = [sentences()[at : at + 6] for at in range(0, 48, 6)]
    want = [vectors(quiet(minilm.embed, batch)) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            found = pool.map(lambda batch: vectors(quiet(minilm.embed, batch)), batches)
            for one, other in zip(found, want, strict=True):
                assert (one == other).all()


def test_threads_truncating_differently_share_a_model(tiny_llm):
    llm = tiny_llm("bert")
    texts = [" ".join(sentences()[at : at + 3]) for at in range(0, 30, 3)]
    limits = [5, 9, 17, 23, 40, 64, 100, -1]
    want = {limit: vectors(quiet(llm.embed, texts, truncate_prompt_tokens=limit)) for limit in limits}
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda limit: vectors(quiet(llm.embed, texts, truncate_prompt_tokens=limit)), limits * 4)
        for limit, one in zip(limits * 4, found, strict=True):
            assert (one == want[limit]).all()


# ------------------------------------------------------------------------------------------------ encode


def test_token_embeddings_are_one_unit_row_a_token(minilm: LLM):
    outputs = quiet(minilm.encode, TEXTS, pooling_task="token_embed")
    for output in outputs:
        assert output.outputs.data.shape == (len(output.prompt_token_ids), 384)
        np.testing.assert_allclose(np.linalg.norm(output.outputs.data, axis=1), 1, atol=1e-6)


def test_encode_answers_the_hidden_states_and_their_mean_is_the_embedding(minilm: LLM):
    (output,) = minilm.encode(TEXTS[0], pooling_task="encode")
    mean = output.outputs.data.mean(axis=0)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), vectors(minilm.embed(TEXTS[0]))[0], atol=1e-6)


def test_encode_for_embed_is_embed(minilm: LLM):
    want = vectors(quiet(minilm.embed, TEXTS))
    assert (vectors(quiet(minilm.encode, TEXTS, pooling_task="embed")) == want).all()
    assert (vectors(quiet(minilm.encode, TEXTS)) == want).all(), "the model's primary task"
    raw = vectors(quiet(minilm.encode, TEXTS, PoolingParams(normalize=False), pooling_task="embed"))
    assert (vectors(quiet(minilm.embed, TEXTS, pooling_params=PoolingParams(normalize=False))) == raw).all()


@pytest.mark.parametrize("task", ["score", "plugin", "embeddings", ""])
def test_encode_refuses_a_task_it_does_not_know_with_those_it_does(minilm: LLM, task: Any):
    with pytest.raises(InputError, match=f"pooling_task must be one of .*'token_classify'.*, got '{task}'"):
        minilm.encode("x", pooling_task=task)


# ---------------------------------------------------------------------------------------------- classify


def test_probabilities_are_one_a_label_and_sum_to_one(tiny_llm):
    llm = tiny_llm("bert", "sequence_3")
    for output in quiet(llm.classify, TEXTS):
        assert output.outputs.num_classes == len(llm.spec.labels) == 3
        assert sum(output.outputs.probs) == pytest.approx(1, abs=1e-6)
        assert min(output.outputs.probs) > 0


@pytest.mark.parametrize("switch", ["activation", "use_activation"])
def test_without_the_activation_logits_come_back(tiny_llm, switch: str):
    llm = tiny_llm("bert", "sequence_3")
    logits = vectors(quiet(llm.classify, TEXTS, pooling_params=PoolingParams(**{switch: False})))
    assert not np.allclose(logits.sum(axis=1), 1)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs = vectors(quiet(llm.classify, TEXTS))
    np.testing.assert_allclose(shifted / shifted.sum(axis=1, keepdims=True), probs, atol=1e-6)


def test_one_label_is_a_sigmoid(tiny_llm):
    llm = tiny_llm("bert", "sequence_1")
    logits = vectors(quiet(llm.classify, TEXTS, pooling_params=PoolingParams(activation=False)))
    assert logits.shape == (3, 1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), vectors(quiet(llm.classify, TEXTS)), atol=1e-6)


def test_token_classification_is_one_row_of_probabilities_a_token(tiny_llm):
    llm = tiny_llm("bert", "token_5")
    for output in quiet(llm.encode, TEXTS, pooling_task="token_classify"):
        assert output.outputs.data.shape == (len(output.prompt_token_ids), 5)
        np.testing.assert_allclose(output.outputs.data.sum(axis=1), 1, atol=1e-6)


# ------------------------------------------------------------------------------------------------ reward


def test_rewards_are_one_raw_row_a_token(fake_llm):
    llm = fake_llm("reward")
    (output,) = llm.reward("one two three")
    assert output.outputs.data.shape == (5, 2)
    (probs,) = llm.reward("one two three", pooling_params=PoolingParams(use_activation=True))
    np.testing.assert_allclose(probs.outputs.data.sum(axis=1), 1, atol=1e-6)
    (again,) = llm.encode("one two three", pooling_task="reward")
    assert (again.outputs.data == output.outputs.data).all()


def test_step_rewards_are_one_row_a_step(fake_llm, states):
    llm = fake_llm("reward", pooling=("STEP",), step_tag_id=4)
    one, two, none = quiet(llm.reward, ["one [STEP] two", "[STEP] one [STEP]", "no step"])
    assert [item.outputs.data.shape for item in (one, two, none)] == [(1, 2), (2, 2), (0, 2)]
    np.testing.assert_allclose(one.outputs.data[0], states([4])[0] @ llm.engine.session.weights[:, :2], rtol=1e-5)
    (other,) = llm.reward("one two one", pooling_params=PoolingParams(step_tag_id=6, returned_token_ids=[1]))
    assert other.outputs.data.shape == (2, 1)


# ------------------------------------------------------------------------------------------------- score


def test_an_embedder_scores_by_the_cosine(minilm: LLM):
    one, two, other = vectors(quiet(minilm.embed, TEXTS))
    scores = [item.outputs.score for item in quiet(minilm.score, TEXTS[0], TEXTS[1:])]
    assert scores == pytest.approx([float(one @ two), float(one @ other)], abs=1e-6)
    assert all(type(score) is float for score in scores)


def test_one_to_one_one_to_many_and_pairwise(minilm: LLM):
    one, two, other = TEXTS
    single = quiet(minilm.score, one, two)
    assert len(single) == 1
    assert [item.request_id for item in quiet(minilm.score, one, [two, other])] == ["0_0", "0_1"]
    pairs = quiet(minilm.score, [one, other], [two, two])
    assert [item.request_id for item in pairs] == ["0_0", "1_1"]
    assert pairs[0].outputs.score == pytest.approx(single[0].outputs.score, abs=1e-6)
    assert pairs[1].outputs.score == pytest.approx(quiet(minilm.score, other, two)[0].outputs.score, abs=1e-6)


def test_a_bi_encoder_embeds_every_text_once(fake_llm):
    llm = fake_llm()
    quiet(llm.score, "one", ["two", "three", "four"])
    assert sum(shape[0] for shape, _ in llm.engine.session.calls) == 4


def test_a_bi_encoders_pair_reports_both_texts_around_a_pad(fake_llm):
    (output,) = fake_llm().score("one", "two three")
    assert output.prompt_token_ids == [1, 6, 2, 0, 1, 7, 8, 2]


def test_the_cosine_is_the_score_normalised_or_not(fake_llm):
    want = fake_llm().score("one two", "three")[0].outputs.score
    plain = fake_llm(use_activation=False)
    assert plain.score("one two", "three")[0].outputs.score == pytest.approx(want, abs=1e-6)
    off = fake_llm().score("one two", "three", pooling_params=PoolingParams(use_activation=False))
    assert off[0].outputs.score == want


@pytest.mark.parametrize("convert", ["embed", "classify"])
def test_score_truncates_wherever_it_is_asked_to(fake_llm, convert: str):
    llm = fake_llm(convert, **({"num_labels": 1, "activation": "sigmoid"} if convert == "classify" else {}))
    long = "one two three four five six seven eight nine ten"
    with pytest.raises(InputError, match="maximum context length is 10"):
        llm.score("one", long)
    (want,) = llm.score("one", long, truncate_prompt_tokens=7)
    (kwargs,) = llm.score("one", long, tokenization_kwargs={"truncate_prompt_tokens": 7})
    (params,) = llm.score("one", long, pooling_params=PoolingParams(truncate_prompt_tokens=7))
    assert params.prompt_token_ids == kwargs.prompt_token_ids == want.prompt_token_ids
    assert params.outputs.score == kwargs.outputs.score == want.outputs.score


def test_a_cross_encoder_scores_the_sigmoid_of_its_logit(tiny_llm):
    llm = tiny_llm("bert", "sequence_1")
    scores = [item.outputs.score for item in quiet(llm.score, TEXTS[0], TEXTS)]
    logits = [
        item.outputs.score for item in quiet(llm.score, TEXTS[0], TEXTS, pooling_params=PoolingParams(activation=False))
    ]
    assert scores == pytest.approx([1 / (1 + np.exp(-logit)) for logit in logits], abs=1e-6)
    assert [item.request_id for item in quiet(llm.score, TEXTS[0], TEXTS)] == ["0", "1", "2"]


def test_a_cross_encoder_reads_the_pair_as_one_input_with_segments(tiny_llm):
    llm = tiny_llm("bert", "sequence_1")
    (output,) = llm.score(TEXTS[0], TEXTS[1])
    pair = llm.engine.tokenizer._tokenizer.encode(TEXTS[0], TEXTS[1])
    assert output.prompt_token_ids == pair.ids
    ids, types = np.array([pair.ids]), np.array([pair.type_ids])
    assert types.max() == 1
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
    (want,) = llm.engine.session.run(feeds, ["probs"])["probs"][0]
    assert output.outputs.score == pytest.approx(float(want), abs=1e-7)


def test_a_cross_encoder_may_read_plain_concatenation(fake_llm):
    llm = fake_llm("classify", num_labels=1, activation="sigmoid", pair_format="concat")
    (output,) = llm.score("one ", "two")
    assert output.prompt_token_ids == [1, 6, 7, 2]


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (["a", "b"], "c", "Input lengths must be either 1:1, 1:N or N:N"),
        (["a", "b"], ["c", "d", "e"], "Input lengths must be either 1:1, 1:N or N:N"),
        ([], "c", "At least one text element must be given"),
        ("a", [], "At least one text_pair element must be given"),
        (5, "c", "text should be a string"),
        ("a", [101, 102], "text_pair should be a string"),
    ],
)
def test_what_cannot_be_paired_is_refused(minilm: LLM, left: Any, right: Any, message: str):
    with pytest.raises(InputError, match=message):
        minilm.score(left, right)


def test_a_classifier_of_several_labels_does_not_score(tiny_llm):
    for head in ("sequence_3", "token_5"):
        with pytest.raises(InputError, match=r"^Scoring API is only enabled for num_labels == 1\.$"):
            tiny_llm("bert", head).score("a", "b")


def test_a_reward_model_does_not_score(fake_llm):
    with pytest.raises(InputError, match=r"^This model does not support the Scoring API\."):
        fake_llm("reward").score("a", "b")


# ---------------------------------------------------------------------------------------- other methods


@pytest.mark.parametrize(
    ("head", "method", "message"),
    [
        ("base", "classify", "Classification API is not supported by this model"),
        ("base", "reward", "Reward API is not supported by this model"),
        ("sequence_3", "embed", "Embedding API is not supported by this model"),
        ("sequence_3", "reward", "Reward API is not supported by this model"),
        ("token_5", "classify", "This model answers a row a token"),
    ],
)
def test_a_method_the_model_lacks_says_what_it_has(tiny_llm, head: str, method: str, message: str):
    llm = tiny_llm("bert", head)
    with pytest.raises(InputError, match=message) as caught:
        getattr(llm, method)("text")
    assert str(caught.value).endswith(f"Supported tasks: {', '.join(llm.spec.tasks)}")


@pytest.mark.parametrize("method", ["embed", "encode", "score"])
def test_without_a_bar_nothing_is_printed(tiny_llm, capfd, method: str):
    llm = tiny_llm("bert")
    capfd.readouterr()
    arguments = (TEXTS[0], TEXTS) if method == "score" else (TEXTS,)
    quiet(getattr(llm, method), *arguments)
    assert capfd.readouterr() == ("", "")


# ----------------------------------------------------------------------------------------- construction


def test_options_come_from_the_environment_too(tiny_bundle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POOL_EXPORT_MAX_BATCH_SIZE", "3")
    monkeypatch.setenv("POOL_EXPORT_THREADS", "1")
    llm = LLM(tiny_bundle("bert"), max_batch_tokens=99)
    assert (llm.engine.config.max_batch_size, llm.engine.config.max_batch_tokens) == (3, 99)
    assert llm.engine.session.threads == 1


def test_the_longest_input_can_be_lowered(tiny_bundle):
    llm = LLM(tiny_bundle("bert"), device="cpu", max_model_len=5)
    with pytest.raises(InputError, match="maximum context length is 5 tokens"):
        llm.embed("one two three four five six")
    assert len(llm.embed("one two three four five six", truncate_prompt_tokens=-1)[0].prompt_token_ids) == 5
    with pytest.raises(InputError, match=r"max_model_len must be in \[1, 128\] for this bundle, got 129"):
        LLM(tiny_bundle("bert"), max_model_len=129)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda, openvino, tensorrt, tensorrt-rtx, got 'gpu'"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"threads": -1}, "threads must be 0"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_opened(tmp_path: Path, option: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        LLM(tmp_path / "nothing here", **option)


def test_a_precision_the_bundle_lacks_is_refused(tiny_bundle):
    with pytest.raises(BundleError, match="has no int8 graph; available: fp32"):
        LLM(tiny_bundle("bert"), device="cpu", precision="int8")


def test_a_path_may_be_a_string_or_a_path(tiny_bundle):
    folder = tiny_bundle("bert")
    left, right = (LLM(form, device="cpu").embed("x")[0].outputs.data for form in (folder, str(folder)))
    assert (left == right).all()
