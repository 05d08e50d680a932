"""Fixtures of the tests of examples/hosts/."""

from ..server.browsing import browser  # noqa: F401
from .programs import bundle_of, spoilt  # noqa: F401
