from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_export.runtime.engines.profiles import Profile, auto_profiles, check_profiles, choose, parse_profiles
from pool_export.runtime.errors import InputError


def test_profiles_are_read_and_written_the_same():
    text = "1x1:1x64:8x512,1x1:32x128:64x512"
    first, second = parse_profiles(text)
    assert first == Profile((1, 1), (1, 64), (8, 512))
    assert f"{first},{second}" == text
    assert parse_profiles("auto") == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "expected auto, or profiles such as"),
        ("1x1:1x64", "got '1x1:1x64'"),
        ("1x1:1x64:8x512,", "got ''"),
        ("1x1:1x-64:8x512", "got '1x1:1x-64:8x512'"),
        ("1x8:1x4:8x512", "the length of '1x8:1x4:8x512' has 8, 4, 512"),
        ("4x1:2x4:8x512", "the batch of '4x1:2x4:8x512' has 4, 2, 8"),
        ("1x1:1x64:8x32", "the length of '1x1:1x64:8x32' has 1, 64, 32"),
        ("0x1:1x64:8x512", "expected 1 <= min"),
    ],
)
def test_what_is_no_profile_is_refused(text: str, part: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the text is checked)
        parse_profiles(text)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("longest", "expected"),
    [
        (16, "1x1:1x16:1x16,1x1:64x16:64x16"),
        (256, "1x1:1x64:1x256,1x1:64x128:64x256"),
        (512, "1x1:1x64:1x512,1x1:64x128:64x512"),
        (8192, "1x1:1x64:1x8192,1x1:64x128:64x512,1x513:4x2048:4x2048,1x2049:1x8192:1x8192"),
    ],
)
def test_automatic_profiles_are_one_text_batches_and_long_texts(longest: int, expected: str):
    assert ",".join(map(str, auto_profiles(longest))) == expected


@given(longest=st.integers(1, 40_000), data=st.data())
def test_automatic_profiles_take_every_batch_that_the_runtime_plans(longest: int, data: st.DataObject):
    profiles = auto_profiles(longest)
    check_profiles(profiles, longest)
    rows, length = data.draw(st.integers(1, 300)), data.draw(st.integers(1, longest))
    left = rows
    while left:  # a batch too large for any profile goes through in parts
        index, taken = choose(profiles, left, length)
        assert profiles[index].takes(taken, length)
        left -= taken
    for profile in profiles:
        assert profile.opt[0] * profile.opt[1] <= max(8192, profile.opt[1])


def test_every_length_needs_a_profile_that_takes_it_alone():
    check_profiles(parse_profiles("1x1:1x8:1x10,1x11:4x16:8x20"), 20)
    with pytest.raises(InputError, match="takes one text of 11 tokens"):
        check_profiles(parse_profiles("1x1:1x8:1x10,1x12:4x16:8x20"), 20)
    with pytest.raises(InputError, match="takes one text of 11 tokens"):
        check_profiles(parse_profiles("1x1:1x8:1x10,2x11:4x16:8x20"), 20)
    with pytest.raises(InputError, match=r"profile 1x1:1x64:8x512 goes to length 512, the model's longest is 256"):
        check_profiles(parse_profiles("1x1:1x64:8x512"), 256)


def test_a_batch_takes_the_profile_that_is_best_near_its_size():
    profiles = parse_profiles("1x1:1x64:8x512,1x1:32x128:64x512,8x1:8x32:64x64")
    assert choose(profiles, 1, 20) == (0, 1)
    assert choose(profiles, 30, 100) == (1, 30)
    assert choose(profiles, 8, 32) == (2, 8)
    assert choose(profiles, 100, 512) == (1, 64)
    with pytest.raises(InputError, match="no profile of the engine takes 2 x 513"):
        choose(profiles, 2, 513)
