"""What a library says of an engine before loading it, by its header. TensorRT for RTX alone has the call."""

from __future__ import annotations

from .library import Loaded


def header_problems(library: Loaded, plan: bytes) -> tuple[str, ...]:
    """Read an engine's header; return what is wrong with it, such as ``version mismatch`` or ``malformed engine``.

    Nothing where the library has no such call. Without a driver a sound header is still told from a malformed one, and
    the GPU is left out of the judgement. A cut-off end is not noticed: the description beside the engine has its hash.
    """
    trt = library.api
    if not hasattr(trt, "EngineInvalidityDiagnostics"):
        return ()
    runtime = trt.Runtime(library.log)
    if runtime is None:
        return ()
    _, found = runtime.get_engine_validity(plan[: runtime.engine_header_size])
    named = trt.EngineInvalidityDiagnostics.__members__.items()
    return tuple(name.lower().replace("_", " ") for name, bit in named if int(found) & int(bit))
