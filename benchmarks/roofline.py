"""How fast the host multiplies matrices: one large product in each precision, by the libraries that the contenders use.

Runs in a worker. The second factor is a constant, as weights are, so a library may pack it beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from engines import Opened

SIDE = 1536


class Probe:
    """GFLOP/s (two for a multiply-add, integers too) of SIDE x SIDE x SIDE, by precision and library."""

    PACKAGES = ("numpy", "onnxruntime", "openvino")

    def __init__(self, opened: Opened) -> None:
        rng = np.random.default_rng(0)
        self._left = rng.standard_normal((SIDE, SIDE), np.float32)
        self._right = rng.standard_normal((SIDE, SIDE), np.float32) / SIDE**0.5
        self._products: dict[tuple[str, str], Callable[[], Any]] = {
            ("fp32", "numpy"): lambda: self._left @ self._right,
            ("fp32", "onnxruntime"): self._onnxruntime(opened.threads, quantized=False),
            ("int8", "onnxruntime"): self._onnxruntime(opened.threads, quantized=True),
            ("fp32", "openvino"): self._openvino(opened.threads, "f32"),
            ("bf16", "openvino"): self._openvino(opened.threads, "bf16"),
            ("int8", "openvino"): self._openvino(opened.threads, "f32", quantized=True),
        }

    def _onnxruntime(self, threads: int, *, quantized: bool) -> Callable[[], Any]:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper

        left, right, out = self._left, self._right, TensorProto.FLOAT
        if quantized:
            left, right, out = _to_int(left, np.uint8), _to_int(right, np.int8), TensorProto.INT32
        operator = "MatMulInteger" if quantized else "MatMul"
        kind = helper.np_dtype_to_tensor_dtype(left.dtype)
        graph = helper.make_graph(
            [helper.make_node(operator, ["left", "right"], ["out"])],
            "product",
            [helper.make_tensor_value_info("left", kind, [SIDE, SIDE])],
            [helper.make_tensor_value_info("out", out, [SIDE, SIDE])],
            [numpy_helper.from_array(right, "right")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"left": left})

    def _openvino(self, threads: int, precision: str, *, quantized: bool = False) -> Callable[[], Any]:
        import openvino
        from openvino import opset13 as ops

        left = ops.parameter([SIDE, SIDE], np.float32)
        right: Any = ops.constant(self._right)
        first: Any = left
        if quantized:  # the form in which OpenVINO recognises an int8 product
            limit = np.float32(np.abs(self._left).max())
            first = ops.fake_quantize(left, -limit, limit, -limit, limit, 255)
            scale = np.float32(np.abs(self._right).max() / 127)
            right = ops.multiply(ops.convert(ops.constant(_to_int(self._right, np.int8)), "f32"), ops.constant(scale))
        model = openvino.Model([ops.matmul(first, right, False, False)], [left], "product")
        how = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        request = openvino.Core().compile_model(model, "CPU", how).create_infer_request()
        return lambda: request.infer([self._left], share_inputs=True, share_outputs=True)

    def measure(self, seconds: float) -> dict[str, dict[str, float]]:
        """Best of the products that each library does in its share of the time: a peak is what nothing disturbed."""
        found: dict[str, dict[str, float]] = {}
        for (precision, library), product in self._products.items():
            product()
            times, until = [], time.perf_counter() + seconds / len(self._products)
            while not times or time.perf_counter() < until:
                began = time.perf_counter()
                product()
                times.append(time.perf_counter() - began)
            found.setdefault(precision, {})[library] = 2e-9 * SIDE**3 / min(times)
        return found


def _to_int(values: np.ndarray, kind: type) -> np.ndarray:
    spread = np.abs(values).max() / 127
    return (np.round(values / spread) + (128 if kind is np.uint8 else 0)).clip(-128, 255).astype(kind)
