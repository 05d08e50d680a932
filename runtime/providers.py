"""Device name -> onnxruntime execution provider with its options; the active provider is verified.

onnxruntime prints "EP Error ... Falling back" and runs on the CPU when a provider fails to load;
here that is an error (peers: livekit/agents#5877 ran on CPU unnoticed).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import MissingExtraError, ProviderError

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


def load_onnxruntime() -> Any:
    """Import onnxruntime.

    Raises:
        MissingExtraError: neither the ``cpu`` nor the ``gpu`` extra is installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "cpu") from error
    return onnxruntime


def candidates(device: str) -> list[str]:
    """Devices to try, in order. ``auto`` prefers a GPU provider that the installed wheel has.

    Raises:
        ProviderError: an explicit device whose provider this onnxruntime lacks.
    """
    available = load_onnxruntime().get_available_providers()
    if device == "auto":
        return [name for name in ("cuda", "cpu") if PROVIDERS[name].name in available]
    provider = PROVIDERS[device]
    if provider.name not in available:
        raise ProviderError(
            f"device {device!r} needs {provider.name}, this onnxruntime has {', '.join(available)}; "
            f"install it: pip uninstall -y onnxruntime && pip install 'pool-export[{provider.extra}]'"
        )
    return [device]


def open_session(path: str, device: str, options: ort.SessionOptions) -> tuple[Any, str]:
    """Open an onnxruntime session on a device.

    Args:
        path: the graph file.
        device: ``auto`` or a key of ``PROVIDERS``.
        options: session options.

    Returns:
        The session and the device it really runs on.

    Raises:
        ProviderError: the provider could not be activated.
    """
    runtime = load_onnxruntime()
    tried = candidates(device)
    for index, name in enumerate(tried):
        provider = PROVIDERS[name]
        if name == "cuda" and hasattr(runtime, "preload_dlls"):
            runtime.preload_dlls()
        # `enable_fallback=0`: a provider that does not load is an error, not a quiet CPU run.
        session = runtime.InferenceSession(
            path,
            options,
            providers=[(provider.name, provider.options)],
            disabled_optimizers=list(provider.disabled_optimizers),
            enable_fallback=0,
        )
        active = session.get_providers()[0]
        if active == provider.name:
            return session, name
        reason = f"{provider.name} did not load (active: {active}); check the driver and the CUDA/cuDNN libraries"
        if index + 1 == len(tried):
            raise ProviderError(f"device {name!r}: {reason}")
        logger.warning("device auto: %s; taking %s instead", reason, tried[index + 1])
    raise ProviderError(f"device {device!r}: this onnxruntime has none of the known execution providers")
