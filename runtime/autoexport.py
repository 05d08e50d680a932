"""The one door from the runtime to the exporter: ``LLM("org/model")`` exports into a cache, once.

Everything else in this folder runs without torch; this module imports the exporter inside its one
function, and only when the user gave a checkpoint and not a bundle.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .bundle import is_bundle
from .errors import BundleError, MissingExtraError


def cache_folder() -> Path:
    """Where exported bundles are kept: ``POOL_EXPORT_CACHE``, else the user's cache folder."""
    stated = os.environ.get("POOL_EXPORT_CACHE")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pool_export"


def bundle_for(model: str, **options: Any) -> Path:
    """Return a bundle folder for a bundle, a checkpoint folder, or a Hub id.

    Args:
        model: what the user gave.
        options: fields of ``export.request.ExportRequest`` besides ``model`` and ``output``.

    Raises:
        BundleError: a bundle together with options that only an export can honour.
        MissingExtraError: a checkpoint, without the ``export`` extra.
    """
    given = {name: value for name, value in options.items() if value not in (None, "auto", False)}
    if is_bundle(model):
        if given:
            raise BundleError(
                f"{model} is an exported bundle; {', '.join(sorted(given))} can only be chosen at export: "
                "run pool-export on the original model with these options"
            )
        return Path(model)
    try:
        from ..export.pipeline import cached_bundle
    except ImportError as error:
        package = (error.name or "torch").split(".")[0]
        if package == "pool_export":
            raise
        raise MissingExtraError(
            f"{model} is not a bundle, so it has to be exported first, and {package}", "export"
        ) from error
    return cached_bundle(model, cache_folder(), **given)
