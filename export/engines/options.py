"""What an engine is to be: one declaration for ``pool-export MODEL --target`` and ``pool-export engine``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...poolers.errors import ConfigError
from ...runtime.engines.library import LIBRARIES, TARGETS, Library
from ...runtime.engines.profiles import Profile, parse_profiles
from ...runtime.manifest import Precision
from ...runtime.options import option, parse_size

# TensorRT multiplies int8 with scales that are constants; the int8 graph here has one for every row.
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
NEWEST_OPSET = 22  # opset 23 has operators that TensorRT takes apart in ways of its own, or not at all


def parse_capabilities(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of compute capabilities, such as ``8.9,12.0``.

    Raises:
        ValueError: anything else.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or not all(re.fullmatch(r"\d+\.\d", name) for name in names):
        raise ValueError(f"expected compute capabilities such as 8.9,12.0, got {text!r}")
    return tuple(sorted(names, key=float))


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Options of an engine. Each is also a command-line flag; the target decides which of them make sense.

    Attributes:
        target: library; none for no engine.
    """

    target: str | None = option(
        None,
        choices=TARGETS,
        help="Build a TensorRT engine beside the graphs: tensorrt for the GPU of this machine, tensorrt-rtx (RTX GPUs) "
        "on any machine.",
    )
    profiles: tuple[Profile, ...] = option(
        (),
        parse=parse_profiles,
        metavar="PROFILES",
        help="Shapes the engine takes, min:opt:max of batch x length, such as 1x1:1x64:1x512,1x1:64x128:64x512. auto "
        "makes one for a single text, one for batches, and more for long texts.  [default: auto]",
    )
    workspace: int = option(
        0,
        parse=parse_size,
        metavar="SIZE",
        help="Most scratch memory of a layer, such as 4GiB; 0 takes TensorRT's limit.",
    )
    timing_cache: str | None = option(
        None, metavar="PATH", help="tensorrt: file that keeps kernel timings, so the next build is faster."
    )
    version_compatible: bool = option(
        False, help="tensorrt: let later releases of the same major version run the engine; slower."
    )
    hardware_compatible: bool = option(
        False, help="tensorrt: let other GPUs of compute capability 8.0 and newer run the engine; slower."
    )
    compute_capability: tuple[str, ...] = option(
        (),
        parse=parse_capabilities,
        metavar="LIST",
        help="tensorrt-rtx: GPUs to build for, such as 8.9,12.0.  [default: 8.0 and newer]",
    )

    def __post_init__(self) -> None:
        """Refuse what the target's library cannot do.

        Raises:
            ConfigError: the message names the option.
        """
        if self.target is None:
            return
        if self.target not in LIBRARIES:
            raise ConfigError(f"target must be one of {', '.join(TARGETS)}, got {self.target!r}")
        for wanted, able, text in self._limits(LIBRARIES[self.target]):
            if wanted and not able:
                raise ConfigError(text)

    def _limits(self, library: Library) -> tuple[tuple[bool, bool, str], ...]:
        return (
            (
                bool(self.timing_cache),
                library.keeps_timings,
                f"--timing-cache is for tensorrt; {library.title} times nothing while building",
            ),
            (
                self.version_compatible,
                library.spans_versions,
                f"--version-compatible is for tensorrt; {library.title} has no such engines, build one a version",
            ),
            (
                self.hardware_compatible,
                library.spans_gpus,
                f"--hardware-compatible is for tensorrt; engines of {library.title} span GPUs from 8.0 on by default, "
                "and those of --compute-capability else",
            ),
            (
                bool(self.compute_capability),
                library.names_gpus,
                f"--compute-capability is for tensorrt-rtx; {library.title} builds for the GPU of this machine",
            ),
        )


def engine_precisions(asked: Sequence[Precision]) -> tuple[Precision, ...]:
    """Which graphs of an export become engines: fp16 and bf16 where they are asked for, else fp32."""
    return tuple(name for name in asked if name in PRECISIONS and name != "fp32") or ("fp32",)
