"""Keep the exporter's libraries quiet: their warnings, logs and prints are shown only with ``--debug``."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_debug = False


def set_debug(enabled: bool) -> None:
    """Let everything through from now on."""
    global _debug
    _debug = enabled


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Python-level noise inside the block; a failure carries what was printed as a note."""
    if _debug:
        yield
        return
    noise = io.StringIO()
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        if printed := noise.getvalue().strip():
            error.add_note(f"captured output:\n{printed[-4000:]}")
        raise
    finally:
        logging.disable(level)
