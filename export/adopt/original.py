"""Read somebody else's ONNX graph and refuse, by name, what cannot become a bundle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from ...runtime.manifest import Precision
from ..errors import ExportError, SourceError
from ..graphs import AXES
from ..quiet import quiet

REQUIRED_INPUTS = ("input_ids", "attention_mask")
KNOWN_INPUTS = (*REQUIRED_INPUTS, "token_type_ids", "position_ids")

# The head is built from operators whose form has not changed since this opset.
_MIN_OPSET = 13
_CONVERTED_OPSET = 18

_QUANTISED = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "EmbedLayerNormalizationQ",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QAttention",
        "QGemm",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)
_FOUR_BITS = frozenset({"GatherBlockQuantized", "MatMulBnb4", "MatMulNBits"})


@dataclass(frozen=True)
class Original:
    """A graph as it was found.

    Attributes:
        path: its file.
        program: the graph, weights in memory, opset 13 or later.
        precision: of its weights.
        operators: how often each operator outside the ONNX standard occurs.
    """

    path: Path
    program: ir.Model
    precision: Precision
    operators: dict[str, int]

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self.program.opset_imports[""]


def read_original(path: Path) -> Original:
    """Read and check a graph.

    Raises:
        SourceError: the file, or its external data, is missing or damaged.
        ExportError: inputs or axes that a bundle cannot have, or weights of a precision without a name here.
    """
    program = _convert(_load(path), path)
    passes.RemoveInitializersFromInputsPass()(program)  # files before IR 4 list the weights as inputs
    _check_inputs(program, path)
    return Original(path, program, _precision(program, path), _operators(program))


def _load(path: Path) -> ir.Model:
    try:
        with quiet():
            program = ir.load(path)
            for graph in program.graphs():
                for value in graph.initializers.values():
                    _require_inside(value, path)
            ir.external_data.load_to_model(program)
    except SourceError:
        raise
    except OSError as error:
        missing = error.filename or "a file of external data"
        raise SourceError(f"{path} cannot be read: {missing}: {error.strerror or error}") from error
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SourceError(f"{path} is not a readable ONNX model ({reason}); it is truncated or damaged") from error
    if not len(program.graph) or not program.graph.outputs:
        raise SourceError(f"{path} is not a readable ONNX model (it has no nodes or no outputs)")
    return program


def _require_inside(value: ir.Value, path: Path) -> None:
    """External data may only lie beside the graph: its bytes are copied into the bundle."""
    if not isinstance(value.const_value, ir.ExternalTensor):
        return
    location = PurePosixPath(str(value.const_value.location))
    if location.is_absolute() or ".." in location.parts:
        raise SourceError(f"{path}: {value.name} has its data in {location}, outside the model's folder")


def _convert(program: ir.Model, path: Path) -> ir.Model:
    """Raise opsets that are too old for the head; every other graph keeps its own."""
    opset = program.opset_imports.get("")
    if opset is None:
        raise ExportError(f"{path} imports no standard ONNX operators")
    if opset >= _MIN_OPSET:
        return program
    try:
        with quiet():
            proto = onnx.version_converter.convert_version(ir.to_proto(program), _CONVERTED_OPSET)
        return ir.from_proto(proto)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(
            f"{path} has opset {opset} and cannot be converted to {_CONVERTED_OPSET} ({reason}); "
            f"export it again with opset {_MIN_OPSET} or later"
        ) from error


def _check_inputs(program: ir.Model, path: Path) -> None:
    names = [str(value.name) for value in program.graph.inputs]
    cached = [name for name in names if name.startswith(("past_key_values", "use_cache"))]
    if cached:
        raise ExportError(
            f"{path} takes a key-value cache ({cached[0]} and {len(cached) - 1} more); it generates text. "
            "Export it for feature-extraction or text-classification, without past"
        )
    unknown = [name for name in names if name not in KNOWN_INPUTS]
    if unknown:
        raise ExportError(
            f"{path} has inputs that no bundle feeds: {', '.join(unknown)}; known: {', '.join(KNOWN_INPUTS)}"
        )
    missing = [name for name in REQUIRED_INPUTS if name not in names]
    if missing:
        raise ExportError(f"{path} has no input {missing[0]}; found {', '.join(names)}")
    for value in program.graph.inputs:
        _check_axes(value, path)


def _check_axes(value: ir.Value, path: Path) -> None:
    if value.shape is None:
        return
    if len(value.shape) != len(AXES):
        found = [str(size) for size in value.shape]
        raise ExportError(f"{path}: input {value.name} has shape {found}, expected two axes: {', '.join(AXES)}")
    for axis, size in zip(AXES, value.shape, strict=True):
        if isinstance(size, int):
            raise ExportError(
                f"{path}: input {value.name} has a fixed {axis} of {size}; export it again with dynamic axes"
            )


def _precision(program: ir.Model, path: Path) -> Precision:
    kinds = {node.op_type for node in ir.traversal.RecursiveGraphIterator(program.graph)}
    if small := kinds & _FOUR_BITS:
        raise ExportError(
            f"{path} holds 4-bit weights ({', '.join(sorted(small))}); bundles hold fp32, fp16, bf16 or int8"
        )
    if kinds & _QUANTISED:
        return "int8"
    sizes: Counter[ir.DataType | None] = Counter()
    for value in program.graph.initializers.values():
        if value.const_value is not None:
            sizes[value.const_value.dtype] += value.const_value.nbytes
    halves: dict[ir.DataType, Precision] = {ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16"}
    largest = max((ir.DataType.FLOAT, *halves), key=lambda kind: sizes[kind])
    return halves.get(largest, "fp32")


def _operators(program: ir.Model) -> dict[str, int]:
    own = {domain for domain, _, _ in program.functions}
    foreign = [
        f"{node.domain}.{node.op_type}"
        for node in ir.traversal.RecursiveGraphIterator(program.graph)
        if node.domain not in ("", "ai.onnx") and node.domain not in own
    ]
    return dict(sorted(Counter(foreign).items()))
