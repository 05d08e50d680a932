from __future__ import annotations

from pool_export.poolers.errors import ConfigError, PoolExportError, closest


def test_a_near_miss_gets_one_suggestion():
    assert closest("pooling_typ", ["pooling_type", "normalize"]) == "; did you mean 'pooling_type'?"


def test_a_far_miss_gets_the_sorted_list():
    assert closest("xyz", ["softmax", "normalize"]) == "; expected one of: normalize, softmax"


def test_a_config_error_is_caught_as_ours_and_as_value_error():
    assert issubclass(ConfigError, PoolExportError)
    assert issubclass(ConfigError, ValueError)
