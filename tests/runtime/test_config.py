from __future__ import annotations

import pytest

from pool_export.runtime.backends.choice import BACKENDS
from pool_export.runtime.config import DEVICES, PRECISIONS, RuntimeConfig
from pool_export.runtime.errors import InputError
from pool_export.runtime.options import env_name, from_env, option_fields


def test_every_field_is_a_declared_option_with_help():
    declared = {item.name: info for item, info in option_fields(RuntimeConfig)}
    assert set(declared) == set(RuntimeConfig.__dataclass_fields__)
    assert all(info.help.endswith(".") for info in declared.values())


def test_every_device_has_a_provider_and_the_reverse():
    assert set(DEVICES) == {"auto", *BACKENDS}


def test_the_precisions_are_those_of_the_manifest():
    assert PRECISIONS == ("auto", "fp32", "fp16", "bf16", "int8")


def test_defaults_leave_the_choice_to_the_machine():
    config = RuntimeConfig()
    assert (config.device, config.precision, config.threads) == ("auto", "auto", 0)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("device", "cpu", "cpu"),
        ("precision", "fp16", "fp16"),
        ("threads", "3", 3),
        ("streams", "2", 2),
        ("max_batch_tokens", "99", 99),
        ("max_batch_size", "2", 2),
    ],
)
def test_every_field_reads_its_variable(monkeypatch: pytest.MonkeyPatch, field: str, text: str, value: object):
    monkeypatch.setenv(env_name(field), text)
    assert getattr(from_env(RuntimeConfig), field) == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, openvino, tensorrt, tensorrt-rtx, got 'tpu'"),
        ({"precision": "fp8"}, "precision must be one of auto, fp32, fp16, bf16, int8, got 'fp8'"),
        ({"threads": -1}, "threads must be 0 .automatic. or more, got -1"),
        ({"streams": -1}, "streams must be 0 .automatic. or more, got -1"),
        ({"max_batch_tokens": -1}, "max_batch_tokens must be 0 .automatic. or more, got -1"),
        ({"max_batch_size": -3}, "max_batch_size must be at least 1, got -3"),
    ],
)
def test_an_impossible_value_is_refused_by_name(values: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        from_env(RuntimeConfig, **values)
