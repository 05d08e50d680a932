"""The one door from the runtime to the exporter: ``LLM("org/model")`` exports into a cache, once.

Everything else in this folder runs without torch; this module imports the exporter inside its one
function, and only when the user gave a checkpoint and not a bundle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..poolers.pooler_config import PoolerConfig
from .bundle import Bundle, is_bundle, open_bundle
from .cache import cache_folder
from .errors import BundleError, MissingExtraError
from .overrides import overridden


def open_model(model: str, **options: Any) -> Bundle:
    """Open a bundle, with what its host can still change, or a checkpoint that is exported first.

    Args:
        model: what the user gave.
        options: as ``bundle_for``.

    Raises:
        BundleError: as ``bundle_for``; or a damaged bundle.
        ConfigError: a wrong value in ``pooler_config``.
        MissingExtraError: a checkpoint, without the ``export`` extra.
    """
    bundle = open_bundle(bundle_for(model, **options))
    if not is_bundle(model):
        return bundle  # its export had the options
    spec = overridden(bundle.manifest.pooling, options.get("pooler_config"), options.get("hf_overrides"))
    return replace(bundle, manifest=replace(bundle.manifest, pooling=spec))


def bundle_for(model: str, *, reporter: Any = None, **options: Any) -> Path:
    """Return a bundle folder for a bundle, a checkpoint folder, or a Hub id.

    Args:
        model: what the user gave.
        reporter: shows the steps of an export (``export.pipeline.Reporter``).
        options: fields of ``export.request.ExportRequest`` besides ``model`` and ``output``.

    Raises:
        BundleError: a bundle together with options that only an export can honour; or, without the
            ``export`` extra, a path that is neither a bundle nor a checkpoint.
        MissingExtraError: a checkpoint, without the ``export`` extra.
    """
    given = {name: value for name, value in options.items() if not _is_default(value)}
    if is_bundle(model):
        _refuse_export_options(model, given)
        return Path(model)
    try:
        from ..export.cache import cached_bundle
    except ImportError as error:
        package = (error.name or "torch").split(".")[0]
        if package == "pool_export":
            raise
        if _is_neither(model):
            return open_bundle(model).folder  # raises, and says what was expected
        why = f"{model} is not a bundle, so it has to be exported first"
        raise MissingExtraError(package, "export", why) from error
    shown = {} if reporter is None else {"reporter": reporter}
    return cached_bundle(model, cache_folder(), **shown, **given)


def _is_default(value: Any) -> bool:
    return value in (None, "auto", False, {}) or value == PoolerConfig()


def _refuse_export_options(model: str, given: dict[str, Any]) -> None:
    # What the bundle is already, and a permission it does not need, are no contradiction. Of the two
    # dictionaries, `overridden` honours the keys that the host can.
    harmless = {"trust_remote_code", "pooler_config", "hf_overrides"}
    if given.get("convert") == open_bundle(model).manifest.pooling.convert:
        harmless.add("convert")
    if refused := sorted(given.keys() - harmless):
        raise BundleError(
            f"{model} is an exported bundle; {', '.join(refused)} can only be chosen at export: "
            "run pool-export on the original model with these options"
        )


def _is_neither(model: str) -> bool:
    """Whether it can only be a mistaken path: a folder without a config, or a path (no Hub id) to nothing."""
    path = Path(model)
    if path.is_dir():
        return not (path / "config.json").is_file() and not (path / "modules.json").is_file()
    return path.is_absolute() or model.startswith(".") or model.count("/") > 1 or path.is_file()
