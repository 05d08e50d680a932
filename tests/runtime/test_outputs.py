from __future__ import annotations

import numpy as np
import pytest

from pool_export.runtime.errors import RuntimeFailure
from pool_export.runtime.outputs import (
    ClassificationOutput,
    EmbeddingOutput,
    EmbeddingRequestOutput,
    require_finite,
)


def test_an_embedding_is_a_list_of_floats_with_its_size():
    output = EmbeddingOutput(np.array([0.5, -1.0, 2.0], np.float32))
    assert output.embedding == [0.5, -1.0, 2.0]
    assert all(type(value) is float for value in output.embedding)
    assert output.hidden_size == 3


def test_class_probabilities_are_a_list_of_floats_with_their_count():
    output = ClassificationOutput(np.array([0.25, 0.75], np.float32))
    assert output.probs == [0.25, 0.75]
    assert all(type(value) is float for value in output.probs)
    assert output.num_classes == 2


def test_a_long_vector_is_shown_by_its_size():
    assert repr(EmbeddingOutput(np.zeros(4096, np.float32))) == "EmbeddingOutput(hidden_size=4096)"
    assert repr(ClassificationOutput(np.array([1.0], np.float32))) == "ClassificationOutput(probs=[1.0])"


def test_every_result_carries_what_vllm_callers_read():
    result = EmbeddingRequestOutput(
        request_id="0", prompt_token_ids=[1, 2], outputs=EmbeddingOutput(np.zeros(1, np.float32))
    )
    assert (result.request_id, result.prompt_token_ids) == ("0", [1, 2])
    assert result.finished is True
    assert result.num_cached_tokens == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_refused_by_output_name(bad: float):
    with pytest.raises(RuntimeFailure, match="sentence_embedding is not finite"):
        require_finite(np.array([0.0, bad], np.float32), "sentence_embedding")


def test_finite_numbers_pass_unchanged():
    data = np.array([1.0, -2.0], np.float32)
    assert require_finite(data, "x") is data
