"""Small networks for the runtime's tests, of the operators that `edgecnn export` writes, byte by byte.

Each takes ``image`` uint8 (N, 8, 8, 3) and gives ``scores`` float32 (N, 3); the weights are drawn from a seed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx_bytes import FLOAT, UINT8, attribute, node, value_info, weight

_ENDS = value_info(11, "image", UINT8, ("N", 8, 8, 3)) + value_info(12, "scores", FLOAT, ("N", 3))
_FIRST = (
    node("Cast", ["image"], "float", attribute("to", 1))
    + node("Mul", ["float", "scale"], "unit")
    + node("Transpose", ["unit"], "channels", attribute("perm", (0, 3, 1, 2)))
    + weight("scale", np.array([1 / 255], np.float32))
)
_LAST = (
    node("GlobalAveragePool", ["features"], "mean")
    + node("Squeeze", ["mean", "sides"], "flat")
    + node("MatMul", ["flat", "head"], "product")
    + node("Add", ["product", "bias"], "logits")
    + node("Softmax", ["logits"], "scores", attribute("axis", 1))
    + weight("sides", np.array([2, 3], np.int64))
)


def _drawn(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def convolutional() -> bytes:
    """Convolutions with a shortcut, pooling, and a dense head, in float32."""
    return (
        _FIRST
        + node("Conv", ["channels", "first"], "a", attribute("pads", (1, 1, 1, 1)))
        + node("Relu", ["a"], "b")
        + node("MaxPool", ["b"], "c", attribute("kernel_shape", (2, 2)) + attribute("strides", (2, 2)))
        + node("Conv", ["c", "second", "shift"], "d", attribute("auto_pad", "SAME_UPPER") + attribute("group", 4))
        + node("Clip", ["d", "low", "high"], "e")
        + node("Add", ["c", "e"], "features")
        + _LAST
        + weight("first", _drawn(4, 3, 3, 3))
        + weight("second", _drawn(4, 1, 3, 3))
        + weight("shift", _drawn(4))
        + weight("low", np.array(0, np.float32))
        + weight("high", np.array(6, np.float32))
        + weight("head", _drawn(4, 3))
        + weight("bias", _drawn(3))
        + _ENDS
    )


def quantized() -> bytes:
    """One convolution and the head with int8 weights and uint8 activations between Quantize- and DequantizeLinear."""
    points = [np.zeros((), np.uint8), np.zeros(4, np.int8)]
    return (
        _FIRST
        + node("QuantizeLinear", ["channels", "s", "z"], "q0")
        + node("DequantizeLinear", ["q0", "s", "z"], "x")
        + node("DequantizeLinear", ["first", "fs", "fz"], "w", attribute("axis", 0))
        + node("Conv", ["x", "w"], "a", attribute("pads", (1, 1, 1, 1)) + attribute("strides", (2, 2)))
        + node("Relu", ["a"], "b")
        + node("QuantizeLinear", ["b", "s", "z"], "q1")
        + node("DequantizeLinear", ["q1", "s", "z"], "features")
        + _LAST
        + weight("first", (_drawn(4, 3, 3, 3) * 40).astype(np.int8))
        + weight("s", np.array(1 / 100, np.float32))
        + weight("z", points[0])
        + weight("fs", np.full(4, 1 / 40, np.float32))
        + weight("fz", points[1])
        + weight("head", _drawn(4, 3))
        + weight("bias", _drawn(3))
        + _ENDS
    )


def free_batch() -> bytes:
    """Scaling inside of the graph, and a reshape by the size of the batch, as tf2onnx writes them."""
    return (
        _FIRST
        + node("Resize", ["channels", "", "factors"], "large", attribute("mode", "linear"))
        + node("Pad", ["large", "pads"], "padded", attribute("mode", "reflect"))
        + node("Slice", ["padded", "starts", "ends", "axes"], "part")
        + node("AveragePool", ["part"], "small", attribute("kernel_shape", (2, 2)) + attribute("strides", (2, 2)))
        + node("Concat", ["small", "small"], "twice", attribute("axis", 1))
        + node("Shape", ["twice"], "shape")
        + node("Gather", ["shape", "zero"], "batch")
        + node("Unsqueeze", ["batch", "zeros"], "length")
        + node("Concat", ["length", "rest"], "wanted", attribute("axis", 0))
        + node("Reshape", ["twice", "wanted"], "rows")
        + node("Gemm", ["rows", "head", "bias"], "logits", attribute("transB", 1))
        + node("ReduceMax", ["logits"], "top", attribute("axes", (1,)))
        + node("Sub", ["logits", "top"], "stable")
        + node("Softmax", ["stable"], "scores", attribute("axis", 1))
        + weight("factors", np.array([1, 1, 1.5, 1.5], np.float32))
        + weight("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        + weight("starts", np.array([1, 1], np.int64))
        + weight("ends", np.array([-1, 2**31 - 1], np.int64))
        + weight("axes", np.array([2, 3], np.int64))
        + weight("zero", np.array(0, np.int64))
        + weight("zeros", np.array([0], np.int64))
        + weight("rest", np.array([-1], np.int64))
        + weight("head", _drawn(3, 6 * 6 * 6))
        + weight("bias", _drawn(3))
        + _ENDS
    )


def explained(graph: bytes) -> bytes:
    """`convolutional` or `quantized` with the second output ``activation_map``, float32 (N, 4, 4, 3)."""
    return (
        graph
        + node("Transpose", ["features"], "places", attribute("perm", (0, 2, 3, 1)))
        + node("MatMul", ["places", "kernel"], "activation_map")
        + weight("kernel", _drawn(4, 3))
        + value_info(12, "activation_map", FLOAT, ("N", 4, 4, 3))
    )


GRAPHS = {"convolutional": convolutional, "quantized": quantized, "free batch": free_batch}


def gradient() -> npt.NDArray[np.uint8]:
    """A picture for them."""
    return (np.arange(8 * 8 * 3) * 37 % 256).astype(np.uint8).reshape(8, 8, 3)
