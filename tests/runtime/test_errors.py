from __future__ import annotations

from pool_export.runtime.errors import first_line


def test_a_message_is_shown_by_its_first_line():
    assert first_line(RuntimeError("\n one \n at x.cc:5")) == "one"
    assert first_line(RuntimeError()) == "RuntimeError"
    assert first_line(RuntimeError("Exception from src/x.cpp:5:\nCheck failed")) == "Check failed"
