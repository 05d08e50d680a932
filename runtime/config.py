"""How a bundle is run: device, precision, threads, batch limits. The only reader of their variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .errors import InputError
from .manifest import Precision
from .options import option, parse_size

Device = Literal["auto", "cpu", "cuda", "openvino", "tensorrt", "tensorrt-rtx"]
DEVICES: tuple[str, ...] = get_args(Device)
PRECISIONS: tuple[str, ...] = ("auto", *get_args(Precision))


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Options of an engine. Each field is also a flag and a ``POOL_EXPORT_*`` variable."""

    device: str = option(
        "auto",
        choices=DEVICES,
        help="Where to run; an explicit device that is missing is an error, never replaced. cpu and cuda are "
        "onnxruntime's, openvino the CPU through OpenVINO's own runtime, tensorrt and tensorrt-rtx run engines that "
        "`pool-export engine` built.",
    )
    precision: str = option(
        "auto",
        choices=PRECISIONS,
        help="Precision to run in; auto takes what was tuned, else fp32. bf16 without a GPU needs device openvino.",
    )
    threads: int = option(0, parse=int, metavar="N", help="Compute threads; 0 takes the cores this process may use.")
    streams: int = option(
        0,
        parse=int,
        metavar="N",
        help="Forward passes at once, sharing the threads; 0 takes one a thread, 4 at most, and 1 on a GPU.",
    )
    max_batch_tokens: int = option(
        0,
        parse=int,
        metavar="N",
        help="Padded tokens in one forward pass; 0 takes 512 (bf16: 1024) for each of its threads on a CPU, and "
        "8192 on a GPU.",
    )
    max_batch_size: int = option(64, parse=int, metavar="N", help="Texts in one forward pass.")
    memory_limit: int = option(
        0,
        parse=parse_size,
        metavar="SIZE",
        help="Resident bytes of the process to stay below; batches are made smaller for it, and a text that cannot "
        "fit is refused. On a CPU; 0 takes the container's limit, if it has one.",
    )

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work.

        Raises:
            InputError: a negative number or an empty batch.
        """
        for name in ("threads", "streams", "max_batch_tokens", "memory_limit"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 (automatic) or more, got {getattr(self, name)}")
        if self.max_batch_size < 1:
            raise InputError(f"max_batch_size must be at least 1, got {self.max_batch_size}")
