from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pool_export.poolers.spec import TASKS, PoolingSpec, Task
from pool_export.runtime.errors import InputError
from pool_export.runtime.params import PoolingParams, check_params

EMBED = PoolingSpec(convert="embed", pooling=("MEAN",), hidden_size=64, embedding_size=64)
MATRYOSHKA = dataclasses.replace(EMBED, is_matryoshka=True)
LISTED = dataclasses.replace(MATRYOSHKA, matryoshka_dimensions=(16, 32, 64))
CLASSIFY = PoolingSpec(convert="classify", pooling=("CLS",), hidden_size=64, num_labels=3)
STEP = PoolingSpec(convert="reward", pooling=("STEP",), hidden_size=64, num_labels=2, step_tag_id=4)

# field -> a value, and the tasks that take it (vLLM 0.11's names and 0.32's)
FIELDS: dict[str, tuple[Any, set[Task]]] = {
    "dimensions": (16, {"embed", "token_embed"}),
    "normalize": (False, {"embed", "token_embed"}),
    "activation": (False, {"classify", "score"}),
    "softmax": (False, {"token_classify", "reward", "encode"}),
    "use_activation": (False, set(TASKS) - {"sparse_embed"}),
    "truncate_prompt_tokens": (5, set(TASKS)),
    "step_tag_id": (4, set()),
    "returned_token_ids": ([0], set()),
}


def error_of(params: PoolingParams, task: Task, spec: PoolingSpec) -> str | None:
    try:
        check_params(params, task, spec, "acme/model")
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("task", TASKS)
def test_empty_parameters_are_always_fine(task: Task):
    assert error_of(PoolingParams(), task, EMBED) is None


def test_the_table_above_names_every_field():
    assert set(FIELDS) == {field.name for field in dataclasses.fields(PoolingParams)}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_taken_by_its_tasks_and_refused_by_the_others(field: str, task: Task):
    value, tasks = FIELDS[field]
    error = error_of(PoolingParams(**{field: value}), task, LISTED)
    if task in tasks:
        assert error is None
    else:
        assert error is not None
        assert error.startswith(f"Task '{task}' only supports [")
        assert error.endswith(f"parameters, does not support ['{field}'] parameters")


def test_the_message_lists_what_the_task_takes():
    assert error_of(PoolingParams(dimensions=4, softmax=True), "classify", CLASSIFY) == (
        "Task 'classify' only supports ['activation', 'use_activation'] parameters, "
        "does not support ['dimensions', 'softmax'] parameters"
    )


@pytest.mark.parametrize("field", ["step_tag_id", "returned_token_ids"])
def test_step_fields_are_for_step_heads(field: str):
    params = PoolingParams(**{field: FIELDS[field][0]})
    assert error_of(params, "reward", STEP) is None
    assert error_of(params, "encode", STEP) is None
    error = error_of(params, "reward", dataclasses.replace(STEP, pooling=("ALL",)))
    assert error is not None
    assert error.endswith(f"does not support ['{field}'] parameters")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("dimensions", "16", "an integer"),
        ("dimensions", 16.0, "an integer"),
        ("dimensions", True, "an integer"),
        ("use_activation", 1, "true or false"),
        ("normalize", "no", "true or false"),
        ("truncate_prompt_tokens", "5", "an integer"),
        ("step_tag_id", [4], "an integer"),
        ("returned_token_ids", 4, "a list of integers"),
        ("returned_token_ids", [0, "1"], "a list of integers"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(field: str, value: Any, expected: str):
    spec = STEP if field in ("step_tag_id", "returned_token_ids") else LISTED
    task: Task = "reward" if spec is STEP else "embed"
    assert error_of(PoolingParams(**{field: value}), task, spec) == f"{field} must be {expected}, got {value!r}"


# ------------------------------------------------------------------------------------------ the one switch


@pytest.mark.parametrize("name", ["use_activation", "normalize", "activation", "softmax"])
@pytest.mark.parametrize("value", [True, False])
def test_the_switch_is_read_under_every_name(name: str, value: bool):
    assert PoolingParams(**{name: value}).switch() is value


def test_without_a_switch_the_model_decides():
    assert PoolingParams(dimensions=3).switch() is None


def test_two_switches_may_agree_and_may_not_contradict():
    assert error_of(PoolingParams(use_activation=False, normalize=False), "embed", EMBED) is None
    assert error_of(PoolingParams(use_activation=True, normalize=False), "embed", EMBED) == (
        "contradicting parameters {'use_activation': True, 'normalize': False}; give `use_activation` alone"
    )


# ---------------------------------------------------------------------------------------------- Matryoshka


@pytest.mark.parametrize("dimensions", [1, 16, 64, 4096, 0, -1])
def test_dimensions_of_another_model_are_refused_in_the_seeds_words(dimensions: int):
    assert error_of(PoolingParams(dimensions=dimensions), "embed", EMBED) == (
        'Model "acme/model" does not support matryoshka representation, '
        "changing output dimensions will lead to poor results."
    )


@pytest.mark.parametrize("dimensions", [1, 16, 63, 64])
def test_a_matryoshka_model_without_a_list_takes_any_size_in_range(dimensions: int):
    assert error_of(PoolingParams(dimensions=dimensions), "embed", MATRYOSHKA) is None


@pytest.mark.parametrize("dimensions", [0, -1])
@pytest.mark.parametrize("spec", [MATRYOSHKA, LISTED], ids=["any", "listed"])
def test_no_vector_is_shorter_than_one(dimensions: int, spec: PoolingSpec):
    expected = f"Dimensions must be greater than 0, got {dimensions}"
    assert error_of(PoolingParams(dimensions=dimensions), "embed", spec) == expected


def test_no_vector_gets_longer():
    assert error_of(PoolingParams(dimensions=65), "embed", MATRYOSHKA) == (
        "Model 'acme/model' only supports dimensions in range [1, 64], got 65."
    )


@pytest.mark.parametrize("dimensions", [16, 32, 64])
def test_a_listed_size_is_taken(dimensions: int):
    assert error_of(PoolingParams(dimensions=dimensions), "token_embed", LISTED) is None


@pytest.mark.parametrize("dimensions", [1, 17, 63, 128])
def test_an_unlisted_size_is_refused_in_the_seeds_words(dimensions: int):
    assert error_of(PoolingParams(dimensions=dimensions), "embed", LISTED) == (
        'Model "acme/model" only supports [16, 32, 64] matryoshka dimensions, '
        f"use other output dimensions will lead to poor results. Got dimensions={dimensions}."
    )
