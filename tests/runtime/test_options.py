from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.options import env_name, flag_name, from_env, option, option_fields


@dataclass(frozen=True)
class Pump:
    speed: int = option(3, parse=int, metavar="N", help="How fast.")
    colour: str = option("red", choices=("red", "blue"), help="Which paint.")
    dry_run: str = option("no", help="Pretend.", flag="--pretend")
    inner: int = 0  # no option: neither flag nor variable


@dataclass(frozen=True)
class Required:
    name: str
    speed: int = option(3, parse=int, help="How fast.")
    tags: list[str] = field(default_factory=list)


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    return monkeypatch.setenv


def test_the_field_is_the_default():
    assert from_env(Pump) == Pump(speed=3, colour="red", dry_run="no", inner=0)


def test_the_field_names_the_variable_and_the_flag():
    names = {item.name: (env_name(item.name), flag_name(item, info)) for item, info in option_fields(Pump)}
    assert names == {
        "speed": ("POOL_EXPORT_SPEED", "--speed"),
        "colour": ("POOL_EXPORT_COLOUR", "--colour"),
        "dry_run": ("POOL_EXPORT_DRY_RUN", "--pretend"),
    }


def test_an_option_keeps_its_help_and_metavar():
    infos = {item.name: info for item, info in option_fields(Pump)}
    assert (infos["speed"].help, infos["speed"].metavar) == ("How fast.", "N")
    assert infos["colour"].choices == ("red", "blue")


def test_the_variable_beats_the_default(setenv):
    setenv("POOL_EXPORT_SPEED", "7")
    assert from_env(Pump).speed == 7


def test_an_explicit_value_beats_the_variable(setenv):
    setenv("POOL_EXPORT_SPEED", "7")
    assert from_env(Pump, speed=9).speed == 9
    assert from_env(Pump, speed=0).speed == 0, "0 is a value"


def test_none_means_not_given(setenv):
    setenv("POOL_EXPORT_SPEED", "7")
    assert from_env(Pump, speed=None).speed == 7


def test_an_empty_variable_means_not_given(setenv):
    setenv("POOL_EXPORT_SPEED", "")
    assert from_env(Pump).speed == 3


def test_a_field_that_is_no_option_has_no_variable(setenv):
    setenv("POOL_EXPORT_INNER", "5")
    assert from_env(Pump).inner == 0


def test_a_bad_choice_names_the_variable_and_the_choices(setenv):
    setenv("POOL_EXPORT_COLOUR", "green")
    with pytest.raises(InputError, match="POOL_EXPORT_COLOUR must be one of red, blue, got 'green'"):
        from_env(Pump)


def test_a_bad_choice_in_code_names_the_field():
    with pytest.raises(InputError, match=r"^colour must be one of red, blue, got 'green'"):
        from_env(Pump, colour="green")


def test_an_unreadable_variable_names_itself_and_its_text(setenv):
    setenv("POOL_EXPORT_SPEED", "fast")
    with pytest.raises(InputError, match="POOL_EXPORT_SPEED='fast' cannot be read"):
        from_env(Pump)


def test_an_unknown_value_is_refused():
    with pytest.raises(InputError, match=r"unknown \['weight'\]"):
        from_env(Pump, weight=1)


def test_a_missing_value_is_refused_and_a_default_factory_is_none():
    assert from_env(Required, name="x") == Required("x")
    with pytest.raises(InputError, match=r"missing \['name'\]"):
        from_env(Required)
