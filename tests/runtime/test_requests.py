from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pool_export.poolers.spec import TASKS, PoolingSpec, Task
from pool_export.runtime.errors import InputError
from pool_export.runtime.params import PoolingParams
from pool_export.runtime.prompts import Prompt
from pool_export.runtime.requests import CallOptions, require_task, run

EMBED = PoolingSpec(convert="embed", pooling=("MEAN",), hidden_size=6)
TOKENS = PoolingSpec(convert="embed", pooling=("ALL",), hidden_size=6)
CLASSIFY = PoolingSpec(convert="classify", pooling=("CLS",), hidden_size=6, num_labels=3)
CROSS = PoolingSpec(convert="classify", pooling=("CLS",), hidden_size=6, num_labels=1)
LABELS = PoolingSpec(convert="classify", pooling=("ALL",), hidden_size=6, num_labels=3)
REWARD = PoolingSpec(convert="reward", pooling=("ALL",), hidden_size=6, num_labels=2)
PROMPTS = [Prompt(text="zero"), Prompt(text="one two"), Prompt(text="three")]


class Bar:
    """What vLLM asks of a progress bar: `update` and `close`."""

    def __init__(self, total: int, desc: str, unit: str) -> None:
        self.total, self.desc, self.done, self.closed = total, desc, 0, False

    def update(self, n: int) -> None:
        assert not self.closed
        self.done += n

    def close(self) -> None:
        self.closed = True

    def __bool__(self) -> bool:
        return False  # as a bar without a total


@pytest.fixture
def bars() -> list[Bar]:
    return []


@pytest.fixture
def make_bar(bars: list[Bar]) -> Callable[..., Bar]:
    def make(**options: Any) -> Bar:
        bars.append(Bar(**options))
        return bars[-1]

    return make


# ---------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize(
    ("spec", "tasks"),
    [
        (EMBED, {"embed", "score", "token_embed", "encode"}),
        (TOKENS, {"token_embed", "score", "encode"}),
        (CLASSIFY, {"classify"}),
        (CROSS, {"classify", "score"}),
        (LABELS, {"token_classify"}),
        (REWARD, {"reward", "token_classify", "encode"}),
    ],
)
def test_a_head_serves_its_tasks_and_no_others(spec: PoolingSpec, tasks: set[Task]):
    def served(task: Task) -> bool:
        try:
            require_task(task, spec)
        except InputError:
            return False
        return True

    assert {task for task in TASKS if served(task)} == tasks


@pytest.mark.parametrize(
    ("task", "spec", "message"),
    [
        ("embed", CLASSIFY, "Embedding API is not supported by this model. Try converting the model using "
         "`--convert embed`."),
        ("token_embed", CLASSIFY, "Embedding API is not supported by this model. Try converting the model using "
         "`--convert embed`."),
        ("classify", EMBED, "Classification API is not supported by this model. Try converting the model using "
         "`--convert classify`."),
        ("token_classify", EMBED, "Token classification is not supported by this model. Try converting the model using "
         "`--convert classify` or `--convert reward`."),
        ("reward", EMBED, "Reward API is not supported by this model. Try converting the model using "
         "`--convert reward`."),
        ("encode", CLASSIFY, "`encode` is not supported by this model: its graph has no token-level output."),
        ("score", REWARD, "This model does not support the Scoring API."),
    ],
)  # fmt: skip
def test_a_task_that_is_not_served_is_refused_in_vllms_words(task: Task, spec: PoolingSpec, message: str):
    with pytest.raises(InputError) as caught:
        require_task(task, spec)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(f"Supported tasks: {', '.join(spec.tasks)}")


def test_a_head_that_answers_token_by_token_is_told_apart_from_a_wrong_conversion():
    with pytest.raises(
        InputError, match=r"answers a row a token: use `LLM.encode\(..., pooling_task='token_classify'\)`"
    ):
        require_task("classify", LABELS)


# ------------------------------------------------------------------------------------------- parameters


def test_parameters_for_each_prompt_act_on_that_prompt(fake_llm, states):
    llm = fake_llm("embed", is_matryoshka=True)
    params = [PoolingParams(normalize=False), PoolingParams(dimensions=2), PoolingParams(truncate_prompt_tokens=3)]
    rows = run(llm.engine, "embed", PROMPTS, params, CallOptions())
    raw = [states(item.ids).mean(axis=0) for item, _ in rows]
    np.testing.assert_allclose(rows[0][1], raw[0], rtol=1e-5)
    np.testing.assert_allclose(rows[1][1], raw[1][:2] / np.linalg.norm(raw[1][:2]), rtol=1e-5)
    np.testing.assert_allclose(rows[2][1], raw[2] / np.linalg.norm(raw[2]), rtol=1e-5)


def test_a_request_of_one_kind_is_one_run_and_each_text_runs_once(fake_llm):
    llm = fake_llm("embed")
    run(llm.engine, "embed", PROMPTS, PoolingParams(normalize=False), CallOptions())
    assert llm.engine.session.calls == [((3, 4), ("unnormalized_embedding",))]
    llm.engine.session.calls.clear()
    mixed = [PoolingParams(normalize=False), PoolingParams(), PoolingParams(normalize=False)]
    run(llm.engine, "embed", PROMPTS, mixed, CallOptions())
    assert sorted(shape[0] for shape, _ in llm.engine.session.calls) == [1, 2]


def test_one_parameter_too_few_is_refused_with_both_counts(fake_llm):
    with pytest.raises(InputError) as caught:
        run(fake_llm().engine, "embed", PROMPTS, [PoolingParams()] * 2, CallOptions())
    assert str(caught.value) == "The lengths of prompts (3) and params (2) must be the same."


@pytest.mark.parametrize("params", [{"dimensions": 2}, "normalize", [{"dimensions": 2}] * 3, [None] * 3, 5])
def test_parameters_that_are_none_are_refused(fake_llm, params: Any):
    with pytest.raises(InputError, match="pooling_params should be PoolingParams or a list of them, got"):
        run(fake_llm().engine, "embed", PROMPTS, params, CallOptions())


def test_one_bad_parameter_fails_the_request_before_anything_runs(fake_llm):
    llm = fake_llm("embed")
    with pytest.raises(InputError, match="does not support matryoshka"):
        run(
            llm.engine, "embed", PROMPTS, [PoolingParams(), PoolingParams(dimensions=2), PoolingParams()], CallOptions()
        )
    with pytest.raises(InputError, match="maximum context length"):
        run(llm.engine, "embed", [*PROMPTS, Prompt(text="one " * 50)], None, CallOptions())
    assert llm.engine.session.calls == []


# ------------------------------------------------------------------------------------------ call options


def test_truncation_is_read_wherever_it_was_given():
    assert CallOptions().truncation() is None
    assert CallOptions(truncate_prompt_tokens=5).truncation() == 5
    assert CallOptions(tokenization_kwargs={"truncate_prompt_tokens": 5}).truncation() == 5
    both = CallOptions(truncate_prompt_tokens=3, tokenization_kwargs={"truncate_prompt_tokens": 5})
    assert both.truncation() == 3


def test_a_prompts_own_truncation_beats_the_calls(fake_llm):
    params = [PoolingParams(), PoolingParams(truncate_prompt_tokens=3), PoolingParams()]
    prompts = [Prompt(text="one two three four")] * 3
    rows = run(fake_llm().engine, "embed", prompts, params, CallOptions(truncate_prompt_tokens=4))
    assert [len(item) for item, _ in rows] == [4, 3, 4]


def test_special_tokens_can_be_left_out(fake_llm):
    options = CallOptions(tokenization_kwargs={"add_special_tokens": False})
    assert [item.ids for item, _ in run(fake_llm().engine, "embed", PROMPTS, None, options)] == [[5], [6, 7], [8]]


def test_an_unknown_tokenization_key_is_refused():
    with pytest.raises(InputError, match=r"tokenization_kwargs \['stride'\] are not supported; "):
        CallOptions(tokenization_kwargs={"stride": "max_length", "add_special_tokens": True})


def test_a_lora_adapter_is_refused_with_the_remedy():
    assert CallOptions(lora_request=None).lora_request is None
    with pytest.raises(InputError, match="merge the LoRA adapter into the checkpoint"):
        CallOptions(lora_request=object())


# -------------------------------------------------------------------------------------------- the bar


def test_a_bar_of_the_callers_making_advances_to_its_total(fake_llm, bars, make_bar):
    options = CallOptions(use_tqdm=make_bar)
    llm = fake_llm(options={"max_batch_size": 2})
    run(llm.engine, "embed", PROMPTS, None, options)
    (bar,) = bars
    assert (bar.total, bar.done, bar.desc, bar.closed) == (3, 3, "Processed prompts", True)


def test_a_mixed_request_has_one_bar(fake_llm, bars, make_bar):
    params = [PoolingParams(normalize=False), PoolingParams(), PoolingParams(normalize=False)]
    run(fake_llm().engine, "embed", PROMPTS, params, CallOptions(use_tqdm=make_bar))
    (bar,) = bars
    assert (bar.total, bar.done) == (3, 3)


def test_a_bar_of_the_callers_making_is_shown_for_one_text(fake_llm, bars, make_bar):
    run(fake_llm().engine, "embed", PROMPTS[:1], None, CallOptions(use_tqdm=make_bar))
    assert [bar.done for bar in bars] == [1]


def test_a_bar_is_closed_when_the_graph_fails(fake_llm, bars, make_bar, monkeypatch):
    llm = fake_llm()

    def fail(feeds: object, outputs: object, **how: object) -> None:
        raise KeyError("boom")

    monkeypatch.setattr(llm.engine.session, "run", fail)
    with pytest.raises(KeyError):
        run(llm.engine, "embed", PROMPTS, None, CallOptions(use_tqdm=make_bar))
    assert [bar.closed for bar in bars] == [True]


@pytest.mark.parametrize("quiet", [False, None, 0])
def test_without_a_bar_nothing_is_printed(fake_llm, capfd, quiet: Any):
    run(fake_llm().engine, "embed", PROMPTS, None, CallOptions(use_tqdm=quiet))
    assert capfd.readouterr() == ("", "")


def test_the_usual_bar_goes_to_stderr_and_only_for_more_than_one_text(fake_llm, capsys):
    engine = fake_llm().engine
    run(engine, "embed", PROMPTS[:1], None, CallOptions(use_tqdm=True))
    assert capsys.readouterr() == ("", "")
    run(engine, "embed", PROMPTS, None, CallOptions(use_tqdm=True))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Processed prompts" in printed.err
    assert "3/3" in printed.err
