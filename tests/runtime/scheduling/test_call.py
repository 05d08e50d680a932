"""A call's deadline and end, with a clock made by hand."""

from __future__ import annotations

import pytest

from pool_export.poolers.errors import PoolExportError
from pool_export.runtime.scheduling.call import Call, Cancelled, DeadlineExceeded, Stopping


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_deadline_counts_from_the_arrival() -> None:
    clock = Clock()
    call = Call(2.5, clock)
    assert call.remaining() == 2.5
    clock.now += 2
    assert call.remaining() == 0.5
    call.check()
    clock.now += 2
    assert call.remaining() == 0
    with pytest.raises(DeadlineExceeded, match=r"within 2.5 s \(request_timeout\)"):
        call.check()


def test_without_a_timeout_there_is_no_deadline() -> None:
    call = Call()
    assert call.remaining() is None
    call.check()


def test_the_first_end_stays() -> None:
    heard: list[PoolExportError] = []
    call = Call(1.0, Clock())
    call.on_over(heard.append)
    call.cancel()
    call.expire()
    call.cancel(Stopping("later"))
    assert [type(why) for why in heard] == [Cancelled]
    with pytest.raises(Cancelled):
        call.check()


def test_who_asks_late_hears_at_once() -> None:
    heard: list[PoolExportError] = []
    call = Call()
    call.cancel(Stopping("the server stops"))
    call.on_over(heard.append)
    assert [str(why) for why in heard] == ["the server stops"]


def test_what_was_taken_back_is_not_called() -> None:
    heard: list[PoolExportError] = []
    call = Call()
    call.on_over(heard.append)
    call.on_over(None)
    call.cancel()
    assert heard == []
