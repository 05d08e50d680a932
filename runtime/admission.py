"""A backend × precision × graph combination answers users only after it agreed with the golden vectors on this host.

The same graph comes out wrong in one library and right in another (OpenVINO 2026.4 in float32, a Qwen3-shaped decoder),
and int8 differs between processors with and without VNNI (microsoft/onnxruntime#5849, #6004). What the export itself
verified, onnxruntime in float32 on a CPU, needs no second check. The result is kept by host, library version and graph.
"""

from __future__ import annotations

from dataclasses import dataclass

from .cache import host, read_record, record_path, write_record
from .engine import Engine
from .errors import ProviderError
from .replay import replay

_VERIFIED = ("cpu", "fp32")
_SHOWN = 2


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the check found; ``failures`` is empty where the combination may be used."""

    backend: str
    device: str
    precision: str
    cases: int
    max_abs: float
    min_cosine: float
    mean_cosine: float
    failures: tuple[str, ...]


def admit(engine: Engine) -> Admission | None:
    """Let an engine answer, or refuse it.

    Returns:
        What the check found; ``None`` where none was needed.

    Raises:
        ProviderError: it disagrees with the golden vectors on this host.
        BundleError: no golden vectors to check with.
        RuntimeFailure: it cannot run them.
    """
    place = engine.session.place
    if (place.device, place.compute) == _VERIFIED:
        return None
    found = check(engine)
    if found.failures:
        raise ProviderError(
            f"{found.backend} in {found.precision} disagrees with the golden vectors of {engine.bundle.name} on this "
            f"host ({'; '.join(found.failures[:_SHOWN])}; {len(found.failures)} in all); choose another --device or "
            "--precision, cpu and fp32 are as the export verified them"
        )
    return found


def check(engine: Engine) -> Admission:
    """Compare an engine with the golden vectors, or return what was found when this host last did.

    Raises:
        BundleError, RuntimeFailure: as ``admit``.
    """
    session, place = engine.session, engine.session.place
    hashes = [file.sha256 for file in session.info.files]
    path = record_path("admitted", host(), session.backend.version, place.device, place.compute, *hashes)
    found = read_record(path, Admission)
    if found is None:
        result = replay(engine, check_ids=False)
        found = Admission(
            backend=session.backend.version,
            device=place.device,
            precision=place.compute,
            cases=result.cases,
            max_abs=result.max_abs,
            min_cosine=result.min_cosine,
            mean_cosine=result.mean_cosine,
            failures=tuple(result.failures),
        )
        write_record(path, found)
    return found
