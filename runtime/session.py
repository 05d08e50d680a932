"""One ONNX graph, opened where it should run: arrays in, arrays out. Knows nothing of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .backends.backend import Load, Place
from .backends.choice import open_backend, places
from .bundle import Bundle
from .config import RuntimeConfig
from .errors import BundleError, InputError, RuntimeFailure, first_line
from .manifest import GraphInfo
from .params import PoolingParams
from .planning import default_tokens
from .postprocess import required_output
from .system import available_cpus

Array = np.ndarray

# Each holds the intermediate results of a batch.
_MOST_STREAMS = 4
_ON_CPU = frozenset({"cpu", "openvino"})
# Bytes of weights that may be in memory more than once: for a text that is alone, or longer than most.
_COPIED = 512 * 2**20

INPUT_NAMES = frozenset({"input_ids", "attention_mask", "token_type_ids", "pooling_mask", "pixel_values"})


class Session:
    """A loaded graph.

    Attributes:
        place: where it really runs, and how.
        device: of ``place``.
        precision: of the arithmetic.
        info: the graph in the manifest.
        backend: what runs it.
        input_names: inputs the graph declares; others are not fed.
        output_names: outputs that may be asked for.
        threads: compute threads, of all streams together.
        streams: forward passes that are worth running at once, from as many Python threads.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: RuntimeConfig,
        graphs: Mapping[str, GraphInfo] | None = None,
        room: int | None = None,
    ) -> None:
        """Load the graph of ``config.precision`` on ``config.device``.

        Args:
            bundle: the opened bundle.
            config: where and how.
            graphs: what to choose from, where it is not the text's graphs.
            room: bytes that the process may still take, where that is limited.

        Raises:
            BundleError: no such graph, a damaged file, or one that differs from the manifest's signature.
            ProviderError: the device is not available.
            MissingExtraError: its library is not installed.
        """
        graphs = bundle.manifest.graphs if graphs is None else graphs
        self.threads = config.threads or available_cpus()

        def load(place: Place) -> Load:
            streams = config.streams or (min(self.threads, _MOST_STREAMS) if place.device in _ON_CPU else 1)
            info = graphs[place.graph]
            size = sum(file.size for file in info.files)
            return Load(
                path=bundle.path(info.files[0].path),
                place=place,
                threads=self.threads,
                streams=streams,
                usual=_usual_output(bundle, info),
                copies=size <= min(_COPIED, _COPIED if room is None else room // 8),
            )

        tried = places(graphs, config.device, config.precision, str(bundle.folder))
        self.backend, self.place = open_backend(tried, load)
        self.info = graphs[self.place.graph]
        self.device, self.precision, self.streams = self.place.device, self.place.compute, self.backend.streams
        self.input_names, self.output_names = self.backend.input_names, self.backend.output_names
        self._check_signature(bundle.path(self.info.files[0].path).as_posix())

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str], *, gives_back: bool = True, alone: bool = False
    ) -> dict[str, Array]:
        """Run one batch.

        Args:
            feeds: input name -> int64 ``[batch_size, sequence_length]`` (``pixel_values``: float32
                ``[batch_size, 3, height, width]``); inputs the graph does not declare are left out.
            outputs: names to compute and copy back.
            gives_back: return the memory of intermediate results afterwards.
            alone: nothing else waits to be run.

        Returns:
            Output name -> float32 array.

        Raises:
            RuntimeFailure: the graph failed.
        """
        used = {name: feeds[name] for name in self.input_names}
        try:
            values = self.backend.run(used, outputs, gives_back=gives_back, alone=alone)
        except Exception as error:
            shape = next(iter(used.values())).shape
            raise RuntimeFailure(f"the graph failed on a batch of shape {shape}: {first_line(error)}") from error
        return dict(zip(outputs, values, strict=True))

    @property
    def on_cpu(self) -> bool:
        """Whether its arithmetic and its memory are the host's."""
        return self.device in _ON_CPU

    @property
    def length_step(self) -> int:
        """A lone text is best padded to a multiple of so many tokens."""
        return self.backend.length_step

    @property
    def batch_tokens(self) -> int:
        """Padded tokens of a batch, where the options leave it open."""
        return default_tokens(on_cpu=self.on_cpu, threads=-(-self.threads // self.streams), precision=self.precision)

    def metadata(self) -> dict[str, str]:
        """The graph's own ``metadata_props``."""
        return self.backend.metadata()

    def _check_signature(self, path: str) -> None:
        for kind, found, declared in (
            ("inputs", self.input_names, self.info.inputs),
            ("outputs", self.output_names, self.info.outputs),
        ):
            if found != tuple(item.name for item in declared):
                raise BundleError(
                    f"{path} has {kind} {', '.join(found)}, the manifest says "
                    f"{', '.join(item.name for item in declared)}; export the model again"
                )
        if unknown := set(self.input_names) - INPUT_NAMES:
            raise BundleError(f"{path} has inputs this version does not feed: {', '.join(sorted(unknown))}")


def _usual_output(bundle: Bundle, graph: GraphInfo) -> str:
    """The output of the bundle's first task, or a graph's first one, where it is not the text's."""
    names, spec = [item.name for item in graph.outputs], bundle.manifest.pooling
    if graph not in bundle.manifest.graphs.values():
        return names[0]
    try:
        return required_output(spec.tasks[0], spec, names, PoolingParams())
    except InputError:  # the signature is compared, and the difference named, once the graph is open
        return names[0]
