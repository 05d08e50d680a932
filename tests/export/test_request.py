"""What the user asked for is checked before any work begins."""

from __future__ import annotations

import dataclasses

import pytest

from pool_export.export.request import ExportRequest, parse_json_object, parse_precisions
from pool_export.poolers.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convert": "embedding"}, "convert must be one of auto, none, embed, classify, reward, got 'embedding'"),
        ({"runner": "draft"}, "runner must be one of auto, generate, pooling, got 'draft'"),
        ({"opset": 17}, r"opset must be in \[18, 23\], got 17"),
        ({"opset": 24}, r"opset must be in \[18, 23\], got 24"),
        ({"precision": ("int8", "int4")}, "precision: expected a list of fp32, fp16, bf16, int8, got 'int4'"),
        ({"max_model_len": 0}, "max_model_len must be at least 1, got 0"),
        ({"pooler_config": {"pooling_typ": "LAST"}}, "unknown pooler-config key 'pooling_typ'.*'pooling_type'"),
        ({"pooler_config": {"pooling_type": "FIRST"}}, "unknown pooling type 'FIRST'"),
        ({"pooler_config": {"normalize": True, "softmax": False}}, "contradict"),
        ({"pooler_config": {"normalize": "yes"}}, "'normalize' must be true or false, got 'yes'"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        ExportRequest(model="m", **options)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "expected a JSON object, Expecting"), ("[1]", "got list"), ("null", "got NoneType")]
)
def test_json_options_must_be_objects(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse_json_object(text)


def test_float32_is_among_the_precisions_whatever_was_asked_for():
    assert parse_precisions("int8, fp16,,int8") == ("fp32", "fp16", "int8")
    assert parse_precisions("") == ("fp32",)
    assert ExportRequest(model="m").precision == ("fp32",)
    assert ExportRequest(model="m", precision=("int8",)).precision == ("fp32", "int8")


def test_a_request_is_a_value():
    request = ExportRequest(model="m", pooler_config={"pooling_type": "CLS"})
    assert request == dataclasses.replace(request)
    assert request.user_pooler().pooling_type == "CLS"
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.model = "n"  # type: ignore[misc]
    assert (request.opset, request.convert, request.force, request.trust_remote_code) == (20, "auto", False, False)
