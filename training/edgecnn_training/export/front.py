"""The part of an any-size file before its network: a picture of any size → exactly what the network takes.

It does what `edgecnn.preprocess.fit_image` has Pillow do, with standard operators and Pillow's own numbers: weights in
double precision from a box in single precision, rounded to 22 bits, sums of integers, and a byte after each of the two
passes. Source: Pillow, ``src/libImaging/Resample.c`` (``precompute_coeffs``, ``ImagingResampleHorizontal_8bpc``). So
the pixels are Pillow's, to the bit, with one exception: Pillow lets the vertical pass go first where that is quicker,
until 12.3 in pictures more than a hundred times as high as wide, since 13.0 where the height shrinks by over twice as
many pixels as the width. Here the horizontal pass always is the first, and the byte between the passes is another: a
result may differ by one grey level there, never by more (each way rounds twice, by half a level at most).

ONNX's own ``Resize`` cannot do it: the part that `crop` keeps begins between two pixels, and what an antialiasing
``Resize`` makes of a region is left open.

A pass is a product with a matrix of weights that is nearly empty: an output looks at few pixels. So outputs are
computed in blocks, each from the window that it sees. Weights have 23 bits and ``MatMulInteger`` takes 8, so there
are three products, whose sum is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgecnn.card import InputSpec
from edgecnn.errors import needs
from edgecnn_training.export.convert import INPUT

if TYPE_CHECKING:
    import onnx

_FITTED = "fitted"
_FLOAT, _UINT8, _INT64, _DOUBLE = 1, 2, 7, 11  # TensorProto.DataType
_ROWS, _COLUMNS, _CHANNELS = 1, 2, 3  # axes of the picture
_BITS = 22  # Pillow's PRECISION_BITS
_GREY = (19595, 38470, 7471)  # of 65,536; Pillow's L, which rounds to nearest
_BLOCK, _MOST_BLOCKS = 16, 16  # outputs of a block: less is less work and more nodes; 8 to 28 are about as quick
_NOTHING = 1e-300  # instead of 0, which cannot be divided by


def graft(network: onnx.ModelProto, spec: InputSpec) -> onnx.ModelProto:
    """A file that takes pictures of any size, from one that takes `spec`'s.

    Args:
        network: uint8 ``image`` ``(N, height, width, channels)`` → whatever it gives.
        spec: Height, width, channels and fit.

    Returns:
        The same for uint8 ``image`` ``(N, H, W, C)`` of any H and W; C is 1 for grey, 3 for RGB, or 4, whose last
        channel is not looked at.
    """
    onnx_ = needs("onnx", "train", "to export")
    result: onnx.ModelProto = onnx_.ModelProto()
    result.CopyFrom(network)
    inner = result.graph
    for node in inner.node:
        node.input[:] = [_FITTED if name == INPUT else name for name in node.input]
    front = _Front(spec)
    taken = {name for node in inner.node for name in node.output} | {tensor.name for tensor in inner.initializer}
    assert taken.isdisjoint({*front.names, _FITTED}), "names of the front part must be its own"
    nodes = [*front.nodes, *inner.node]
    del inner.node[:]
    inner.node.extend(nodes)
    inner.initializer.extend(front.weights)
    for axis, name in zip(inner.input[0].type.tensor_type.shape.dim[1:], "HWC", strict=True):
        axis.dim_param = name
    return result


class _Front:
    """Builds the nodes.

    Attributes:
        nodes: In their order; the last one gives `_FITTED`.
        weights: Their constants.
        names: Of all tensors but that.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._onnx = needs("onnx", "train", "to export")
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.names: set[str] = set()
        self._constants: dict[tuple[bytes, tuple[int, ...], str], str] = {}
        self.spec = spec
        self._sides = self.op("Cast", self.op("Shape", INPUT, start=_ROWS, end=_CHANNELS), to=_DOUBLE)
        self._wanted = self.double([spec.height, spec.width])
        self._size = self._shift = ""  # of the scaled picture, and where the result begins in it; for "pad" only
        self._begin, self._step = self._box()
        self._reach = self.op("Max", self._step, self.double([1]))
        self._low, self._high = self._seen()
        self._fitted()

    def op(self, operator: str, *inputs: str, **attributes: int | list[int]) -> str:
        """Add a node with one output."""
        return self.ops(operator, 1, *inputs, **attributes)[0]

    def ops(self, operator: str, count: int, *inputs: str, **attributes: int | list[int]) -> list[str]:
        """Add a node with `count` outputs."""
        names = [f"front_{len(self.names) + place}" for place in range(count)]
        self.names.update(names)
        self.nodes.append(self._onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def constant(self, values: npt.ArrayLike, dtype: type[np.generic]) -> str:
        """A constant, kept once."""
        array = np.asarray(values, dtype)
        key = array.tobytes(), array.shape, array.dtype.name
        if key not in self._constants:
            self._constants[key] = f"front_{len(self.names)}"
            self.names.add(self._constants[key])
            self.weights.append(self._onnx.numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def double(self, values: npt.ArrayLike) -> str:
        """A float64 constant."""
        return self.constant(values, np.float64)

    def whole(self, values: npt.ArrayLike) -> str:
        """An int64 constant."""
        return self.constant(values, np.int64)

    def _box(self) -> tuple[str, str]:
        """Where in the picture the result begins, and source pixels per pixel of the result: float64 (2,) each.

        Pillow takes the box in single precision, and computes with its length in double precision.
        """
        op, sides, wanted = self.op, self._sides, self._wanted
        length = wanted
        if self.spec.fit == "crop":
            visible = op("Div", wanted, op("ReduceMax", op("Div", wanted, sides), keepdims=1))
            margin = op("Mul", op("Sub", sides, visible), self.double([0.5]))
            begin = op("Cast", op("Max", margin, self.double([0])), to=_FLOAT)
            end = op("Cast", op("Min", op("Sub", sides, margin), sides), to=_FLOAT)
        else:
            begin, end = self.constant([0, 0], np.float32), op("Cast", sides, to=_FLOAT)
        if self.spec.fit == "pad":
            factor = op("ReduceMin", op("Div", wanted, sides), keepdims=1)
            scaled = op("Round", op("Mul", sides, factor))
            length = self._size = op("Max", scaled, self.double([1]))
            self._shift = op("Floor", op("Mul", op("Sub", length, wanted), self.double([0.5])))
        step = op("Div", op("Cast", op("Sub", end, begin), to=_DOUBLE), length)
        return op("Cast", begin, to=_DOUBLE), step

    def _seen(self) -> tuple[str, str]:
        """The first pixel of the source that any pixel of the result looks at, and that after the last."""
        op, low, high = self.op, self.double([0, 0]), self._sides
        if self.spec.fit != "pad":
            height, width = self.spec.height, self.spec.width
            last = op("Mul", self._step, self.double([height - 0.5, width - 0.5]))
            end = op("Add", op("Add", self._begin, last), self._reach)
            low = op("Max", self._first(self._begin, self._step, self._reach, self.double([0.5])), low)
            high = op("Min", op("Floor", op("Add", end, self.double([0.5]))), high)
        return low, high

    def _first(self, begin: str, step: str, reach: str, centre: str) -> str:
        """The first pixel of the source that the pixels with these centres look at; may lie before the picture."""
        at = self.op("Add", begin, self.op("Mul", centre, step))
        return self.op("Floor", self.op("Add", self.op("Sub", at, reach), self.double([0.5])))

    def _fitted(self) -> None:
        """The whole: what is seen, grey where that is wanted, two passes, the channels."""
        op, height, width = self.op, self.spec.height, self.spec.width
        places = [op("Cast", edge, to=_INT64) for edge in (self._low, self._high)]
        picture = op("Slice", INPUT, *places, self.whole([_ROWS, _COLUMNS]))
        picture = op("Transpose", picture, perm=[0, 1, 3, 2])  # (N, H, C, W)
        last = op("Sub", op("Shape", INPUT, start=_CHANNELS), self.whole([1]))
        channels = op("Min", self.whole([0, 1, 2]), last)  # grey is taken thrice, a fourth channel not at all
        if self.spec.channels == 1:
            picture = self._grey(op("Gather", picture, channels, axis=2))
        picture = self._pass(picture, _COLUMNS)
        picture = op("Reshape", picture, self.whole([0, 0, -1]))  # (N, H, C × width)
        picture = self._pass(picture, _ROWS)
        picture = op("Reshape", picture, self.whole([0, height, -1, width]))
        if self.spec.channels == 3:
            picture = op("Gather", picture, channels, axis=2)
        picture = op("Transpose", picture, perm=[0, 1, 3, 2])
        shape = self.whole([-1, height, width, self.spec.channels])  # so that the network's shapes are known
        self.nodes.append(self._onnx.helper.make_node("Reshape", [picture, shape], [_FITTED]))

    def _grey(self, picture: str) -> str:
        """(N, H, 3, W) → (N, H, 1, W); float32 is exact, since no sum reaches 2²⁴ of its last place."""
        weights = self.constant(np.array([_GREY]) / 65536, np.float32)
        grey = self.op("MatMul", weights, self.op("Cast", picture, to=_FLOAT))
        return self.op("Cast", self.op("Add", grey, self.constant(0.5, np.float32)), to=_UINT8)

    def _pass(self, picture: str, axis: int) -> str:
        """Scale one side: (N, H, C, W) → (N, H, C, width), or (N, H, M) → (N, height, M)."""
        op, side = self.op, axis - 1
        length = (self.spec.height, self.spec.width)[side]
        block = -(-length // min(_MOST_BLOCKS, -(-length // _BLOCK)))
        count = -(-length // block)
        weights, starts, ends = self._weights(side, count, block)
        axis = 3 if axis == _COLUMNS else 1
        products: list[list[str]] = []
        for number in range(count):
            place = self.whole([number])
            window = op("Slice", picture, op("Gather", starts, place), op("Gather", ends, place), self.whole([axis]))
            own = op("Gather", weights, self.whole(number))
            product = op("MatMulInteger", *((window, own) if axis == 3 else (own, window)))
            products.append(self.ops("Split", 3, product, self.whole([block] * 3), axis=axis))
        parts = [op("Concat", *part, axis=axis) for part in zip(*products, strict=True)]
        result = self._joined(parts)
        if count * block == length:
            return result
        return op("Slice", result, self.whole([0]), self.whole([length]), self.whole([axis]))

    def _joined(self, parts: Sequence[str]) -> str:
        """The sum of the products with the weights' three bytes, as a byte; all but the last step is exact."""
        op, byte = self.op, self.constant(256, np.int32)
        high, middle, low = parts
        total = op("Add", op("Mul", op("Add", op("Mul", high, byte), middle), byte), low)
        level = op("Mul", op("Cast", total, to=_DOUBLE), self.double(2.0**-_BITS))
        # weights that are rounded up add up to more than 1 where there are thousands of them
        return op("Cast", op("Min", op("Add", level, self.double(0.5)), self.double(255)), to=_UINT8)

    def _weights(self, side: int, count: int, block: int) -> tuple[str, str, str]:
        """The weights of one side's blocks, uint8, and where their windows begin and end in what is seen.

        Returns:
            uint8 ``(count, window, 3 × block)`` for columns and ``(count, 3 × block, window)`` for rows, each weight's
            high, middle and low byte; int64 ``(count,)`` twice.
        """
        op = self.op
        both = (self._begin, self._step, self._reach, self._low, self._high)
        begin, step, reach, low, high = (op("Gather", each, self.whole([side])) for each in both)
        index = np.arange(count * block, dtype=np.float64).reshape(count, 1, block)
        pixels, firsts = self.double(index), self.double(index[:, 0, 0])
        if self._shift:
            shift = op("Gather", self._shift, self.whole([side]))
            pixels, firsts = op("Add", pixels, shift), op("Add", firsts, shift)
        most = op("Add", op("Mul", step, self.double([block - 1])), op("Mul", reach, self.double([2])))
        window = op("Min", op("Floor", op("Add", most, self.double([2]))), op("Sub", high, low))
        window = op("Max", window, self.double([1]))  # so that no pixels are an error: a sum of none is left undefined
        starts = self._first(begin, step, reach, op("Add", firsts, self.double([0.5])))
        starts = op("Min", op("Max", starts, low), op("Sub", high, window))
        centres = op("Add", begin, op("Mul", op("Add", pixels, self.double(0.5)), step))
        size = op("Cast", window, to=_INT64)
        places = op("Range", self.whole(0), op("Squeeze", size), self.whole(1))
        places = op("Cast", op("Reshape", places, self.whole([1, -1, 1])), to=_DOUBLE)
        places = op("Add", op("Reshape", starts, self.whole([-1, 1, 1])), places)
        weight = self._triangle(places, centres, reach)
        if self._size:
            weight = op("Mul", weight, self._inside(pixels, op("Gather", self._size, self.whole([side]))))
        weights = self._bytes(weight)
        if side == 0:
            weights = op("Transpose", weights, perm=[0, 2, 1])
        relative = op("Cast", op("Sub", starts, low), to=_INT64)
        return weights, relative, op("Add", relative, size)

    def _triangle(self, places: str, centres: str, reach: str) -> str:
        """Pillow's bilinear filter: how much pixels at some places count for results with some centres."""
        op = self.op
        apart = op("Add", op("Sub", places, centres), self.double(0.5))
        near = op("Abs", op("Mul", apart, op("Div", self.double([1]), reach)))
        return op("Max", op("Sub", self.double(1), near), self.double(0))

    def _inside(self, pixels: str, size: str) -> str:
        """1 where a pixel of the result lies in the scaled picture, 0 where it is black."""
        inside = self.op("And", self.op("GreaterOrEqual", pixels, self.double(0)), self.op("Less", pixels, size))
        return self.op("Cast", inside, to=_DOUBLE)

    def _bytes(self, weight: str) -> str:
        """float64 ``(count, window, block)`` → uint8 ``(count, window, 3 × block)``: rounded to 22 bits, in bytes."""
        op = self.op
        total = op("Max", op("ReduceSum", weight, self.whole([1]), keepdims=1), self.double(_NOTHING))
        scaled = op("Mul", op("Div", weight, total), self.double(2.0**_BITS))
        fixed = op("Floor", op("Add", scaled, self.double(0.5)))
        upper = op("Floor", op("Mul", fixed, self.double(2.0**-8)))
        high = op("Floor", op("Mul", fixed, self.double(2.0**-16)))
        low = op("Sub", fixed, op("Mul", upper, self.double(256)))
        middle = op("Sub", upper, op("Mul", high, self.double(256)))
        return op("Cast", op("Concat", high, middle, low, axis=2), to=_UINT8)
