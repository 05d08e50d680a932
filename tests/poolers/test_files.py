from __future__ import annotations

import pytest

from pool_export.poolers.files import CheckpointFiles


@pytest.mark.parametrize(
    ("config", "architecture", "model_type"),
    [
        ({"architectures": ["BertModel", "Other"], "model_type": "bert"}, "BertModel", "bert"),
        ({"architectures": None, "model_type": None}, "", ""),
        ({"architectures": []}, "", ""),
        ({}, "", ""),
    ],
)
def test_the_first_architecture_counts_and_absence_is_an_empty_string(config, architecture, model_type):
    files = CheckpointFiles(config=config)
    assert (files.architecture, files.model_type) == (architecture, model_type)
