"""Device name -> onnxruntime execution provider with its options; the active provider is verified.

onnxruntime prints "EP Error ... Falling back" and runs on the CPU when a provider fails to load;
here that is an error (peers: livekit/agents#5877 ran on CPU unnoticed).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError, ProviderError, first_line

if TYPE_CHECKING:
    import onnxruntime as ort

logger = logging.getLogger("pool_export.runtime")


@dataclass(frozen=True)
class Provider:
    """One execution provider: its onnxruntime name, the extra that brings it, and its options."""

    name: str
    extra: str
    options: dict[str, Any]
    disabled_optimizers: tuple[str, ...] = ()


PROVIDERS: dict[str, Provider] = {
    "cpu": Provider(
        "CPUExecutionProvider",
        "cpu",
        {},
        # Fused at load by default, yet slower than the operators they replace: SkipLayerNormalization
        # takes ten times LayerNormalization + Add (onnxruntime 1.32, AVX512: 16 % of the total).
        disabled_optimizers=("SkipLayerNormFusion", "BiasGeluFusion"),
    ),
    "cuda": Provider(
        "CUDAExecutionProvider",
        "gpu",
        {
            # TF32 is onnxruntime's default for fp32 and costs three digits; parity needs it off.
            "use_tf32": "0",
            # Grow by what is asked, not by doubling: batches differ in shape on purpose.
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "HEURISTIC",
        },
    ),
}


# onnxruntime's exception classes for a file it cannot read; anything else is the provider's failure.
_FILE_ERRORS = frozenset({"InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoSuchFile", "NoModel"})


def load_onnxruntime() -> Any:
    """Import onnxruntime, with its telemetry off unless ``ORT_DISABLE_TELEMETRY=0`` asks for it.

    From 1.29 the Linux builds keep a device id below ``~/.cache`` and send what is loaded (file names, hashes) to
    Microsoft; only the variable, set before the import, stops all of it (microsoft/onnxruntime#27379).

    Raises:
        MissingExtraError: neither the ``cpu`` nor the ``gpu`` extra is installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "cpu") from error
    return onnxruntime


def available(device: str, *, required: bool = True) -> bool:
    """Whether this onnxruntime has the provider of a device.

    Raises:
        ProviderError: it has not, and it is ``required``.
    """
    found = load_onnxruntime().get_available_providers()
    provider = PROVIDERS[device]
    if provider.name not in found and required:
        raise ProviderError(
            f"device {device!r} needs {provider.name}, this onnxruntime has {', '.join(found)}; "
            f"install it: pip uninstall -y onnxruntime && pip install 'pool-export[{provider.extra}]'"
        )
    return provider.name in found


def open_session(path: str, device: str, options: ort.SessionOptions) -> Any:
    """Open an onnxruntime session on a device.

    Args:
        path: the graph file.
        device: a key of ``PROVIDERS``.
        options: session options.

    Returns:
        The session; it really runs on that device.

    Raises:
        ProviderError: the provider could not be activated.
        Exception: onnxruntime's own, for a file it cannot read.
    """
    session, reason = _try_provider(load_onnxruntime(), path, PROVIDERS[device], options)
    if session is None:
        raise ProviderError(f"device {device!r}: {reason}")
    return session


def _try_provider(runtime: Any, path: str, provider: Provider, options: ort.SessionOptions) -> tuple[Any, str]:
    """Return a session, or ``None`` and why the provider cannot be had. A damaged file raises onnxruntime's error."""
    on_cpu = provider is PROVIDERS["cpu"]
    if not on_cpu and hasattr(runtime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:  # stdout belongs to the caller's data
            runtime.preload_dlls()
        logger.debug("preload_dlls: %s", printed.getvalue())
    try:
        # `enable_fallback=0`: a provider that does not load is an error, not a quiet CPU run.
        session = runtime.InferenceSession(
            path,
            options,
            providers=[(provider.name, provider.options)],
            disabled_optimizers=list(provider.disabled_optimizers),
            enable_fallback=0,
        )
    except Exception as error:
        if on_cpu or type(error).__name__ in _FILE_ERRORS:
            raise
        return None, f"{provider.name} failed: {first_line(error)}"
    active = session.get_providers()[0]
    if active == provider.name:
        return session, ""
    return None, f"{provider.name} did not load (active: {active}); check the driver and the CUDA/cuDNN libraries"
