"""``pool_export.json``: the bundle's self-description, format 1 (``docs/design.md`` section 6).

Frozen dataclasses are the schema; msgspec decodes and checks them. Fields added within a format
have defaults, so an older bundle still opens; an unknown newer ``format`` is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

from ..poolers.spec import PoolingSpec, Task
from .errors import BundleError

FORMAT = 1
MANIFEST_NAME = "pool_export.json"
GOLDEN_NAME = "golden.json"

Precision = Literal["fp32", "fp16", "bf16", "int8"]
TextTokenizerKind = Literal["wordpiece", "hf_json"]
Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]  # Pillow's order, from 0


@dataclass(frozen=True, kw_only=True)
class SourceInfo:
    """Where the weights came from.

    ``revision`` is a Hub commit, or empty for a local folder; ``adopted_from`` the ONNX file that the
    graph was made from, empty where the model itself was traced.
    """

    id: str
    architecture: str
    model_type: str
    revision: str = ""
    licence: str = ""
    adopted_from: str = ""


@dataclass(frozen=True, kw_only=True)
class TokenizerPolicy:
    """How text becomes token ids, beyond what ``tokenizer.json`` says.

    Attributes:
        max_length: longest input in tokens, special tokens included.
        pad_token_id: id that fills padded positions; masked, so its value only has to be valid.
        padding_side: what the checkpoint was configured with; the graph accepts both.
        vocab_size: ids at or above it are refused; 0 takes the tokenizer's own size.
        prompts: named prefixes, as sentence-transformers stores them.
        default_prompt_name: the prefix sentence-transformers applies when none is named.
        score_template: jinja that makes one text of a query and a document, for rerankers made from
            a language model.
        pad_to_max_length: pad every text to ``max_length`` with tokens that are attended to (SigLIP was trained so).
    """

    max_length: int
    pad_token_id: int = 0
    padding_side: Literal["left", "right"] = "right"
    vocab_size: int = 0
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    score_template: str | None = None
    pad_to_max_length: bool = False


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One graph input or output; a dimension is a number or an axis name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """One file of the bundle, by its path inside it."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class GraphInfo:
    """One ONNX graph: its files (the model first, then external data), signature and parity report.

    ``operators`` counts the operators outside the ONNX standard, as ``com.microsoft.Attention``; an
    adopted graph may have them, an exported one has none. ``passes`` counts what the exporter rewrote, by pass.
    """

    files: tuple[FileInfo, ...]
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    parity: dict[str, Any] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImagePolicy:
    """How an image becomes ``pixel_values``: the model's own processor as data, in the order of the attributes.

    Attributes:
        convert_rgb: convert to RGB, transparency on white; else only RGB images are taken.
        resize: scale so that the shortest edge is ``resize_height``, or to exactly that size, or not.
        resize_height, resize_width: the target; a shortest edge has one number for both.
        resample: Pillow's filter.
        crop_height, crop_width: cut out of the centre, zeros where the image is smaller; 0 for no crop.
        rescale_factor: what the bytes are multiplied by; ``None`` for nothing.
        mean, std: per channel, subtracted and divided by; empty for nothing.
        height, width: of ``pixel_values``, as the graph takes them.
    """

    height: int
    width: int
    convert_rgb: bool = True
    resize: Literal["shortest_edge", "exact", "none"] = "exact"
    resize_height: int = 0
    resize_width: int = 0
    resample: Resample = "bicubic"
    crop_height: int = 0
    crop_width: int = 0
    rescale_factor: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageTower:
    """The second graph of an image-text embedder; ``tokens`` is what one image weighs in a batch (its patches)."""

    policy: ImagePolicy
    graphs: dict[str, GraphInfo]
    tokens: int = 1


@dataclass(frozen=True, kw_only=True)
class TextGraph:
    """The float32 graph with the tokenizer in front: string ``text [1]`` in, one text a run, the same outputs.

    It needs the operators of onnxruntime-extensions, which this runtime does not load.

    Attributes:
        graph: its files and signature; ``operators`` counts those of the extensions.
        tokenizer: how it was made: ``wordpiece``, nodes of our own around one operator, or ``hf_json``.
        check: how many strings had the Hugging Face tokenizer's ids, and the figures of the golden texts.
    """

    graph: GraphInfo
    tokenizer: TextTokenizerKind
    check: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CardUse:
    """What the model card of a known model did at export.

    Attributes:
        id: the card's model.
        filled: settings the card gave, by name, because no file and no option did.
        notes: where the card and the files disagree, and who won.
        hazards: names of ``models_zoo.card.HAZARDS``.
    """

    id: str
    filled: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    hazards: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole of ``pool_export.json``.

    ``image`` is there where the model embeds images too, ``text`` where the export was asked for a text-input graph.
    """

    format: int
    source: SourceInfo
    tasks: tuple[Task, ...]
    pooling: PoolingSpec
    tokenizer: TokenizerPolicy
    graphs: dict[str, GraphInfo]
    producer: dict[str, str] = field(default_factory=dict)
    created: str = ""
    similarity: str = "cosine"
    image: ImageTower | None = None
    text: TextGraph | None = None
    card: CardUse | None = None

    def files(self) -> list[FileInfo]:
        """Every file of every graph."""
        graphs = [*self.graphs.values(), *(self.image.graphs.values() if self.image else ())]
        graphs += [self.text.graph] if self.text else []
        return [file for graph in graphs for file in graph.files]


def default_precision(graphs: Collection[str]) -> Precision:
    """The graph that ``auto`` reads: fp32, or what an adopted bundle without one has first."""
    return cast(Precision, "fp32" if "fp32" in graphs or not graphs else next(iter(graphs)))


def existing_precision(graphs: Collection[str], precision: str, where: str) -> Precision:
    """The graph that a precision means, ``auto`` included.

    Raises:
        BundleError: the bundle (``where``) has none of that precision.
    """
    wanted = default_precision(graphs) if precision == "auto" else precision
    if wanted not in graphs:
        raise BundleError(f"{where} has no {wanted} graph; available: {', '.join(sorted(graphs)) or 'none'}")
    return cast(Precision, wanted)


def encode_manifest(manifest: Manifest) -> bytes:
    """Serialise, indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Parse and check a manifest.

    Args:
        data: the file's bytes.
        where: path shown in messages.

    Raises:
        BundleError: not JSON, a newer format, or a field that is missing or of the wrong type.
    """
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where} is not valid JSON ({error}); export the model again") from error
    found = head.get("format") if isinstance(head, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise BundleError(
            f"{where} has no valid `format` (a number from 1), got {found!r}; this is not a pool-export bundle, "
            "export the model again"
        )
    if found > FORMAT:
        raise BundleError(
            f"{where} has format {found}, this version reads up to {FORMAT}; upgrade: pip install -U pool-export"
        )
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"{where}: {error}; the manifest is damaged, export the model again") from error
    if problem := _impossible(manifest):
        raise BundleError(f"{where}: {problem}; the manifest is damaged, export the model again")
    return manifest


def _impossible(manifest: Manifest) -> str | None:
    """What the types allow and no export writes."""
    if not manifest.pooling.pooling:
        return "`pooling.pooling` is empty"
    if manifest.tokenizer.max_length < 1:
        return f"`tokenizer.max_length` is {manifest.tokenizer.max_length}"
    if not manifest.graphs:
        return "`graphs` is empty"
    if manifest.image is not None:
        policy = manifest.image.policy
        if not manifest.image.graphs or min(policy.height, policy.width, manifest.image.tokens) < 1:
            return "`image` has no graph, or a size below 1"
    towers = {f"image {name}": graph for name, graph in (manifest.image.graphs if manifest.image else {}).items()}
    texts = {"text": manifest.text.graph} if manifest.text else {}
    for precision, graph in {**manifest.graphs, **towers, **texts}.items():
        if not graph.files or not graph.outputs:
            return f"graph {precision!r} lists no {'outputs' if graph.files else 'file'}"
    return None
