"""How a bundle is run: device, precision, threads, batch limits. The only reader of their variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .errors import InputError
from .manifest import Precision
from .options import option

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[str, ...] = get_args(Device)
PRECISIONS: tuple[str, ...] = ("auto", *get_args(Precision))


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Options of an engine. Each field is also a flag and a ``POOL_EXPORT_*`` variable."""

    device: str = option(
        "auto", choices=DEVICES, help="Where to run; an explicit device that is missing is an error, never replaced."
    )
    precision: str = option("auto", choices=PRECISIONS, help="Which graph of the bundle to run; auto takes fp32.")
    threads: int = option(0, parse=int, metavar="N", help="Compute threads; 0 takes the cores this process may use.")
    max_batch_tokens: int = option(
        8192, parse=int, metavar="N", help="Padded tokens in one forward pass; bounds memory."
    )
    max_batch_size: int = option(64, parse=int, metavar="N", help="Texts in one forward pass.")

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work.

        Raises:
            InputError: a negative thread count or an empty batch.
        """
        if self.threads < 0:
            raise InputError(f"threads must be 0 (automatic) or more, got {self.threads}")
        for name in ("max_batch_tokens", "max_batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
