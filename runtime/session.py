"""One ONNX graph in one onnxruntime session: arrays in, arrays out. Knows nothing of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..poolers.errors import PoolExportError
from .bundle import Bundle
from .config import RuntimeConfig
from .errors import BundleError, RuntimeFailure
from .manifest import GraphInfo
from .planning import default_tokens
from .providers import first_line, load_onnxruntime, open_session
from .system import available_cpus

Array = np.ndarray

# Each holds the intermediate results of a batch.
_MOST_STREAMS = 4

INPUT_NAMES = frozenset({"input_ids", "attention_mask", "token_type_ids", "pooling_mask", "pixel_values"})


class Session:
    """A loaded graph.

    Attributes:
        device: where it really runs.
        precision: which graph of the bundle it is.
        input_names: inputs the graph declares; others are not fed.
        output_names: outputs that may be asked for.
        threads: compute threads, of all streams together.
        streams: forward passes that are worth running at once, from as many Python threads.
    """

    def __init__(self, bundle: Bundle, config: RuntimeConfig, graph: tuple[str, GraphInfo] | None = None) -> None:
        """Load the graph of ``config.precision`` on ``config.device``, or another one of the bundle's.

        Raises:
            BundleError: the graph file is damaged, or differs from the manifest's signature.
            ProviderError: the device is not available.
        """
        self.precision, info = graph or bundle.graph(config.precision)
        self.threads = config.threads or available_cpus()
        path = bundle.path(info.files[0].path)
        try:
            wanted = config.streams or min(self.threads, _MOST_STREAMS)
            options = _session_options(self.threads, wanted)
            self._session, self.device = open_session(str(path), config.device, options)
        except PoolExportError:
            raise
        except Exception as error:
            raise BundleError(
                f"{path} cannot be loaded ({first_line(error)}); it is truncated or damaged, export the model again"
            ) from error
        self.streams = wanted if self.device == "cpu" else config.streams or 1
        self._after_run = _giving_back() if self.device == "cpu" else None
        self.input_names = tuple(item.name for item in self._session.get_inputs())
        self.output_names = tuple(item.name for item in self._session.get_outputs())
        for kind, found, declared in (
            ("inputs", self.input_names, info.inputs),
            ("outputs", self.output_names, info.outputs),
        ):
            if found != tuple(item.name for item in declared):
                raise BundleError(
                    f"{path} has {kind} {', '.join(found)}, the manifest says "
                    f"{', '.join(item.name for item in declared)}; export the model again"
                )
        if unknown := set(self.input_names) - INPUT_NAMES:
            raise BundleError(f"{path} has inputs this version does not feed: {', '.join(sorted(unknown))}")

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str], *, gives_back: bool = True) -> dict[str, Array]:
        """Run one batch.

        Args:
            feeds: input name -> int64 ``[batch_size, sequence_length]`` (``pixel_values``: float32
                ``[batch_size, 3, height, width]``); inputs the graph does not declare are left out.
            outputs: names to compute and copy back.
            gives_back: return the memory of intermediate results afterwards.

        Returns:
            Output name -> float32 array.

        Raises:
            RuntimeFailure: the graph failed.
        """
        used = {name: feeds[name] for name in self.input_names}
        try:
            values = self._session.run(list(outputs), used, self._after_run if gives_back else None)
        except Exception as error:
            shape = next(iter(used.values())).shape
            raise RuntimeFailure(f"the graph failed on a batch of shape {shape}: {first_line(error)}") from error
        return dict(zip(outputs, values, strict=True))

    @property
    def batch_tokens(self) -> int:
        """Padded tokens of a batch, where the options leave it open."""
        return default_tokens(self.device, -(-self.threads // self.streams))

    def metadata(self) -> dict[str, str]:
        """The graph's own ``metadata_props``."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


def _session_options(threads: int, streams: int) -> Any:
    """Options of a session that runs ``streams`` batches at once, each in its caller's thread.

    The pool beside them is shared, and there is none where every thread is a stream. That is what is fastest on
    two cores, by half: nobody waits for another thread after every operator, or spins until it comes.
    """
    options = load_onnxruntime().SessionOptions()
    options.intra_op_num_threads = max(1, threads - streams + 1)
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan kept for every shape, and batches differ in shape on purpose
    options.log_severity_level = 4  # errors are raised; printed as well, in colour, they are noise on stderr
    return options


def _giving_back() -> Any:
    """Run options that return the arena's memory after the batch.

    The arena never shrinks by itself: one long text would hold its memory for good (onnxruntime#22271).
    """
    options = load_onnxruntime().RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
