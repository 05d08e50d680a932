"""Export pooling models to verified ONNX bundles, and run the bundles without torch.

The public names are loaded on first use, so ``import pool_export`` costs nothing and needs no extra:
torch comes in with ``export_model``, onnxruntime and numpy with ``LLM``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names as in _HOMES, for type checkers and editors
    from .export.errors import ExportError, ParityError, SourceError
    from .export.pipeline import export_model
    from .export.request import ExportRequest
    from .poolers.errors import ConfigError, PoolExportError
    from .poolers.pooler_config import PoolerConfig
    from .poolers.spec import PoolingSpec
    from .runtime.errors import BundleError, InputError, MissingExtraError, ProviderError, RuntimeFailure
    from .runtime.llm import LLM
    from .runtime.outputs import (
        AllEmbeddingsRequestOutput,
        ClassificationRequestOutput,
        EmbeddingRequestOutput,
        PoolingRequestOutput,
        ScoringRequestOutput,
        SparseEmbeddingRequestOutput,
    )
    from .runtime.params import PoolingParams

    __version__: str

__all__ = [
    "LLM",
    "AllEmbeddingsRequestOutput",
    "BundleError",
    "ClassificationRequestOutput",
    "ConfigError",
    "EmbeddingRequestOutput",
    "ExportError",
    "ExportRequest",
    "InputError",
    "MissingExtraError",
    "ParityError",
    "PoolExportError",
    "PoolerConfig",
    "PoolingParams",
    "PoolingRequestOutput",
    "PoolingSpec",
    "ProviderError",
    "RuntimeFailure",
    "ScoringRequestOutput",
    "SourceError",
    "SparseEmbeddingRequestOutput",
    "__version__",
    "export_model",
]

# public name -> the module that defines it
_HOMES = {
    "LLM": ".runtime.llm",
    "AllEmbeddingsRequestOutput": ".runtime.outputs",
    "BundleError": ".runtime.errors",
    "ClassificationRequestOutput": ".runtime.outputs",
    "ConfigError": ".poolers.errors",
    "EmbeddingRequestOutput": ".runtime.outputs",
    "ExportError": ".export.errors",
    "ExportRequest": ".export.request",
    "InputError": ".runtime.errors",
    "MissingExtraError": ".runtime.errors",
    "ParityError": ".export.errors",
    "PoolExportError": ".poolers.errors",
    "PoolerConfig": ".poolers.pooler_config",
    "PoolingParams": ".runtime.params",
    "PoolingRequestOutput": ".runtime.outputs",
    "PoolingSpec": ".poolers.spec",
    "ProviderError": ".runtime.errors",
    "RuntimeFailure": ".runtime.errors",
    "ScoringRequestOutput": ".runtime.outputs",
    "SourceError": ".export.errors",
    "SparseEmbeddingRequestOutput": ".runtime.outputs",
    "export_model": ".export.pipeline",
}


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("pool-export")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name], __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
