"""The part of an any-size file before its network: a picture of any size → exactly what the network takes.

It does what `edgecnn.preprocess.fit_image` has Pillow do, with standard operators and Pillow's own numbers: weights in
double precision from a box in single precision, rounded to 22 bits, sums of integers, and a byte after each of the two
passes. So the pixels are Pillow's, to the bit. Source: Pillow, ``src/libImaging/Resample.c`` (``precompute_coeffs``,
``ImagingResampleInner``, ``ImagingResampleHorizontal_8bpc``).

Which pass is the first depends on the picture and on Pillow's version. The byte between the passes does too, and with
it a quarter of the pixels, by one grey level: enough to change the label of three hand signs in a thousand. The order
is that of the Pillow that exports, which has scaled the pictures of the training.

ONNX's own ``Resize`` cannot do it: the part that `crop` keeps begins between two pixels, and what an antialiasing
``Resize`` makes of a region is left open.

A pass is a product with a matrix of weights that is nearly empty: an output looks at few pixels. So outputs are
computed in blocks, each from the window that it sees. Weights have 23 bits and ``MatMulInteger`` takes 8, so there
are three products, whose sum is exact.

A graph without control flow has no order to choose. So there are three passes, vertical, horizontal, vertical, of which
the first or the last does next to nothing: the first one makes either all rows or a few that nobody looks at, the rows
as they are follow it, and the last one takes either the first's rows as they are, or scales those that follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import PIL

from edgecnn.card import InputSpec
from edgecnn.errors import needs
from edgecnn_training.export.convert import INPUT

if TYPE_CHECKING:
    import onnx

_FITTED = "fitted"
_FLOAT, _UINT8, _INT64, _DOUBLE = 1, 2, 7, 11  # TensorProto.DataType
_ROWS, _COLUMNS, _CHANNELS = 1, 2, 3  # axes of the picture
_BITS = 22  # Pillow's PRECISION_BITS
_PILLOW_BY_SHRINKING = 13  # its first version that has the vertical pass first by how much each side shrinks
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


@dataclass(frozen=True, slots=True)
class _Side:
    """How one side is scaled; names of float64 tensors ``(1,)``.

    Attributes:
        length: Pixels of the result.
        begin: Where in the source the result begins.
        step: Pixels of the source per pixel of the result.
        reach: How far from its centre a pixel of the result sees, in pixels of the source.
        low: The first pixel of the source that is seen.
        high: The one after the last.
        shift: Where in the scaled picture the result begins; empty where at 0.
        size: Length of the scaled picture, outside of which the result is black; empty where all is inside.
    """

    length: int
    begin: str
    step: str
    reach: str
    low: str
    high: str
    shift: str
    size: str


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
        self._rows, self._columns = self._sides()
        self._tall = self._vertical_first()
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

    def _sides(self) -> tuple[_Side, _Side]:
        """How the height and the width are scaled; computed together, as tensors of two."""
        op = self.op
        sides = op("Cast", op("Shape", INPUT, start=_ROWS, end=_CHANNELS), to=_DOUBLE)
        lengths = self.spec.height, self.spec.width
        begin, step, shift, size = self._box(sides, self.double(lengths))
        reach = op("Max", step, self.double([1]))
        low, high = self.double([0, 0]), sides
        if self.spec.fit != "pad":  # which leaves nothing out
            last = op("Mul", step, self.double([length - 0.5 for length in lengths]))
            end = op("Add", op("Add", begin, last), reach)
            low = op("Max", self._first(begin, step, reach, self.double([0.5])), low)
            high = op("Min", op("Floor", op("Add", end, self.double([0.5]))), high)
        self._source = sides
        self._scaled = size or self.double(lengths)
        both = [begin, step, reach, low, high, shift, size]
        rows, columns = (
            _Side(lengths[place], *(op("Gather", each, self.whole([place])) if each else "" for each in both))
            for place in (0, 1)
        )
        return rows, columns

    def _box(self, sides: str, wanted: str) -> tuple[str, str, str, str]:
        """Begin, step, shift and size of a `_Side`, float64 (2,) each.

        Pillow takes the box in single precision, and computes with its length in double precision.
        """
        op, length, shift, size = self.op, wanted, "", ""
        if self.spec.fit == "crop":
            visible = op("Div", wanted, op("ReduceMax", op("Div", wanted, sides), keepdims=1))
            margin = op("Mul", op("Sub", sides, visible), self.double([0.5]))
            begin = op("Cast", op("Max", margin, self.double([0])), to=_FLOAT)
            end = op("Cast", op("Min", op("Sub", sides, margin), sides), to=_FLOAT)
        else:
            begin, end = self.constant([0, 0], np.float32), op("Cast", sides, to=_FLOAT)
        if self.spec.fit == "pad":
            factor = op("ReduceMin", op("Div", wanted, sides), keepdims=1)
            length = size = op("Max", op("Round", op("Mul", sides, factor)), self.double([1]))
            shift = op("Floor", op("Mul", op("Sub", size, wanted), self.double([0.5])))
        step = op("Div", op("Cast", op("Sub", end, begin), to=_DOUBLE), length)
        return op("Cast", begin, to=_DOUBLE), step, shift, size

    def _first(self, begin: str, step: str, reach: str, centre: str) -> str:
        """The first pixel of the source that the pixels with these centres look at; may lie before the picture."""
        at = self.op("Add", begin, self.op("Mul", centre, step))
        return self.op("Floor", self.op("Add", self.op("Sub", at, reach), self.double([0.5])))

    def _vertical_first(self) -> str:
        """Whether Pillow takes the vertical pass first, bool (1,): never unless the picture gets lower."""
        op = self.op
        less = op("Sub", self._source, self._scaled)
        lower, narrower = (op("Gather", less, self.whole([place])) for place in (0, 1))
        if int(PIL.__version__.split(".")[0]) >= _PILLOW_BY_SHRINKING:
            beyond = op("Sub", lower, op("Mul", narrower, self.double([2])))
        else:
            high, wide = (op("Gather", self._source, self.whole([place])) for place in (0, 1))
            beyond = op("Sub", high, op("Mul", wide, self.double([100])))
        return op("Greater", op("Min", lower, beyond), self.double([0]))

    def _fitted(self) -> None:
        """The whole: what is seen, grey where that is wanted, the passes, the channels."""
        op, height, width = self.op, self.spec.height, self.spec.width
        rows, columns = self._rows, self._columns
        corners = [op("Concat", *pair, axis=0) for pair in ((rows.low, columns.low), (rows.high, columns.high))]
        places = [op("Cast", corner, to=_INT64) for corner in corners]
        picture = op("Slice", INPUT, *places, self.whole([_ROWS, _COLUMNS]))
        picture = op("Transpose", picture, perm=[0, 1, 3, 2])  # (N, H, C, W)
        last = op("Sub", op("Shape", INPUT, start=_CHANNELS), self.whole([1]))
        channels = op("Min", self.whole([0, 1, 2]), last)  # grey is taken thrice, a fourth channel not at all
        if self.spec.channels == 1:
            picture = self._grey(op("Gather", picture, channels, axis=2))
        picture = self._scaled_picture(picture)
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

    def _scaled_picture(self, picture: str) -> str:
        """(N, H, C, W) → (N, height, C × width): the three passes."""
        op, tall, rows = self.op, self._tall, self._rows
        none, one = self.whole([0]), self.whole([1])
        seen = op("Cast", op("Sub", rows.high, rows.low), to=_INT64)
        # all that is seen, or one row, from which rows are made that nobody looks at
        few = op("Slice", picture, none, op("Where", tall, seen, one), one)
        few = op("Reshape", few, self.whole([0, 0, -1]))
        first = replace(rows, high=op("Where", tall, rows.high, op("Add", rows.low, self.double([1]))))
        first_rows = op("Where", tall, self.whole([rows.length]), one)
        made = op("Slice", self._pass(few, first, _ROWS, narrow=True), none, first_rows, one)
        rest = op("Slice", picture, op("Where", tall, op("Sub", seen, one), none), seen, one)
        shape = op("Concat", none, first_rows, op("Shape", picture, start=2), axis=0)
        picture = op("Concat", op("Reshape", made, shape), rest, axis=1)
        picture = self._pass(picture, self._columns, _COLUMNS)
        picture = op("Reshape", picture, self.whole([0, 0, -1]))
        after = op("Where", tall, none, one)
        return self._pass(picture, self._last_rows(), _ROWS, offset=after)

    def _last_rows(self) -> _Side:
        """The last pass: as it would be, or where the first one did it, row for row."""
        rows, length = self._rows, self.double([self._rows.length])

        def either(there: str, otherwise: str) -> str:
            return self.op("Where", self._tall, there, otherwise)

        zero, one = self.double([0]), self.double([1])
        return _Side(
            length=rows.length,
            begin=either(zero, rows.begin),
            step=either(one, rows.step),
            reach=either(one, rows.reach),
            low=either(zero, rows.low),
            high=either(length, rows.high),
            shift=either(zero, rows.shift) if rows.shift else "",
            size=either(length, rows.size) if rows.size else "",
        )

    def _pass(self, picture: str, side: _Side, axis: int, *, offset: str = "", narrow: bool = False) -> str:
        """Scale one side: (N, H, C, W) → (N, H, C, width), or (N, H, M) → (N, height, M).

        Args:
            picture: uint8.
            side: How.
            axis: `_ROWS` or `_COLUMNS`.
            offset: Where in the picture lies what is seen; empty where at 0.
            narrow: Unless the vertical pass is the first, make a row of each block only.
        """
        op = self.op
        block = -(-side.length // min(_MOST_BLOCKS, -(-side.length // _BLOCK)))
        count = -(-side.length // block)
        width = self.whole([block])
        if narrow:
            width = op("Where", self._tall, width, self.whole([1]))
        weights, starts, size = self._weights(side, count, block, axis, width if narrow else "")
        starts = op("Add", starts, offset) if offset else starts
        ends, thirds = op("Add", starts, size), op("Concat", *[width] * 3, axis=0) if narrow else ""
        axis = 3 if axis == _COLUMNS else 1
        products: list[list[str]] = []
        for number in range(count):
            place = self.whole([number])
            edges = op("Gather", starts, place), op("Gather", ends, place)
            window, own = op("Slice", picture, *edges, self.whole([axis])), op("Gather", weights, self.whole(number))
            product = op("MatMulInteger", *((window, own) if axis == 3 else (own, window)))
            products.append(self.ops("Split", 3, product, thirds or self.whole([block] * 3), axis=axis))
        parts = [op("Concat", *part, axis=axis) for part in zip(*products, strict=True)]
        result = self._joined(parts)
        if narrow or count * block == side.length:
            return result
        return op("Slice", result, self.whole([0]), self.whole([side.length]), self.whole([axis]))

    def _joined(self, parts: Sequence[str]) -> str:
        """The sum of the products with the weights' three bytes, as a byte; all but the last step is exact."""
        op, byte = self.op, self.constant(256, np.int32)
        high, middle, low = parts
        total = op("Add", op("Mul", op("Add", op("Mul", high, byte), middle), byte), low)
        level = op("Mul", op("Cast", total, to=_DOUBLE), self.double(2.0**-_BITS))
        # weights that are rounded up add up to more than 1 where there are thousands of them
        return op("Cast", op("Min", op("Add", level, self.double(0.5)), self.double(255)), to=_UINT8)

    def _weights(self, side: _Side, count: int, block: int, axis: int, width: str) -> tuple[str, str, str]:
        """The weights of one side's blocks, uint8, and where in what is seen their windows begin, and their length.

        Returns:
            uint8 ``(count, window, 3 × block)`` for columns and ``(count, 3 × block, window)`` for rows, each weight's
            high, middle and low byte; int64 ``(count,)`` and ``(1,)``. Only `width` pixels of a block if that is given.
        """
        op = self.op
        index = np.arange(count * block, dtype=np.float64).reshape(count, 1, block)
        pixels, firsts = self.double(index), self.double(index[:, 0, 0])
        if width:
            pixels = op("Slice", pixels, self.whole([0]), width, self.whole([2]))
        if side.shift:
            pixels, firsts = op("Add", pixels, side.shift), op("Add", firsts, side.shift)
        most = op("Add", op("Mul", side.step, self.double([block - 1])), op("Mul", side.reach, self.double([2])))
        window = op("Min", op("Floor", op("Add", most, self.double([2]))), op("Sub", side.high, side.low))
        window = op("Max", window, self.double([1]))  # so that no pixels are an error: a sum of none is left undefined
        starts = self._first(side.begin, side.step, side.reach, op("Add", firsts, self.double([0.5])))
        starts = op("Min", op("Max", starts, side.low), op("Sub", side.high, window))
        size = op("Cast", window, to=_INT64)
        places = op("Range", self.whole(0), op("Squeeze", size), self.whole(1))
        places = op("Cast", op("Reshape", places, self.whole([1, -1, 1])), to=_DOUBLE)
        places = op("Add", op("Reshape", starts, self.whole([-1, 1, 1])), places)
        weight = self._triangle(places, pixels, side)
        weights = self._bytes(op("Mul", weight, self._inside(pixels, side.size)) if side.size else weight)
        if axis == _ROWS:
            weights = op("Transpose", weights, perm=[0, 2, 1])
        return weights, op("Cast", op("Sub", starts, side.low), to=_INT64), size

    def _triangle(self, places: str, pixels: str, side: _Side) -> str:
        """Pillow's bilinear filter: how much what is at some places counts for pixels of the result."""
        op = self.op
        centres = op("Add", side.begin, op("Mul", op("Add", pixels, self.double(0.5)), side.step))
        apart = op("Add", op("Sub", places, centres), self.double(0.5))
        near = op("Abs", op("Mul", apart, op("Div", self.double([1]), side.reach)))
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
