"""Shapes and work of operators that give a number for each number: activations, arithmetic, normalisation, rounding.

What else they read, such as a scale for each channel, must have the very shape it should have: ONNX Runtime joins such
operators with their neighbours when it loads a graph, and an old one reads a first number there that may not exist.
Each rule takes a `Call` and gives the shape of every output.
"""

from __future__ import annotations

from edgecnn.scan.call import MUCH, Call, Unfit, axis_of, broadcast, elements
from edgecnn.scan.contents import BITS, Shape


def same(call: Call) -> list[Shape]:
    """An operator of one input."""
    if len(call.shapes) != 1:
        raise Unfit(f"must have one input; it has {len(call.shapes)}")
    return [call.shape(0)]


def slow(call: Call) -> list[Shape]:
    """As `same`, for what takes ONNX Runtime ten times as long."""
    call.work = MUCH * elements(call.shape(0))
    return same(call)


def along_axis(call: Call) -> list[Shape]:
    """Softmax and its like: `slow`, over an axis."""
    axis_of(call.integer("axis", -1), len(call.shape(0)))
    return slow(call)


def stretched(call: Call) -> list[Shape]:
    """The shape that all inputs are stretched to, as NumPy does."""
    return [broadcast(*[call.shape(index) for index in range(len(call.shapes))])]


def divide(call: Call) -> list[Shape]:
    """Div. Integers may be divided by a constant without 0 and -1 only: the processor would end the whole program."""
    if not call.floating:
        divisor = call.known(1).reshape(-1) if call.has(1) and call.fixed[1] else None
        if divisor is None or any(int(number) in (0, -1) for number in divisor):
            raise Unfit("must divide integers by a constant other than 0 and -1")
    return stretched(call)


def leaky_by_channel(call: Call) -> list[Shape]:
    """PRelu: a slope that is stretched to the input, never the other way round."""
    shape, slope = call.shape(0), call.shape(1)
    if broadcast(shape, slope) != shape:
        raise Unfit(f"must have slopes that fit {shape}; it has {slope}")
    return [shape]


def cast(call: Call) -> list[Shape]:
    """Cast: to numbers; texts take 32 bytes each."""
    if call.integer("to") not in BITS:
        raise Unfit(f"must turn numbers into numbers; it gives type {call.integer('to')}")
    return same(call)


def clip(call: Call) -> list[Shape]:
    """Clip: between two single numbers."""
    call.parameters(1, ())
    call.parameters(2, ())
    return [call.shape(0)]


def dropout(call: Call) -> list[Shape]:
    """Dropout as it predicts: nothing is left out."""
    call.parameters(1, ())
    if call.has(2):
        raise Unfit("must not be in training mode")
    return [call.shape(0)] * len(call.node.outputs)


def quantize(call: Call) -> list[Shape]:
    """QuantizeLinear, DequantizeLinear: one scale for all, or one for each place along an axis."""
    shape, scale = call.shape(0), call.shape(1)
    single = ((), (1,))  # ONNX Runtime's quantisation mixes the two
    if scale not in single:
        axis = axis_of(call.integer("axis", 1), len(shape))
        if scale != (shape[axis],):
            raise Unfit(f"must have one scale, or one for each of {shape[axis]} channels; it has {scale}")
    if call.integer("block_size", 0):
        raise Unfit("must have no blocks")
    if not (scale in single and call.has(2) and call.shape(2) in single):
        call.parameters(2, scale)
    return [shape]


def batch_normalization(call: Call) -> list[Shape]:
    """BatchNormalization as it predicts: four numbers for each channel, one output."""
    shape = call.shape(0)
    if call.integer("training_mode", 0) or len(call.node.outputs) != 1 or len(shape) < 2:
        raise Unfit("must not be in training mode")
    for index in range(1, 5):
        call.parameters(index, shape[1:2], optional=False)
    return [shape]


def instance_normalization(call: Call) -> list[Shape]:
    """InstanceNormalization: two numbers for each channel."""
    shape = call.shape(0)
    if len(shape) < 3:
        raise Unfit(f"must have a spatial axis; it has {shape}")
    call.parameters(1, shape[1:2], optional=False)
    call.parameters(2, shape[1:2], optional=False)
    return [shape]


def layer_normalization(call: Call) -> list[Shape]:
    """LayerNormalization over the last axes: the shape of its input, then of mean and deviation."""
    shape = call.shape(0)
    axis = axis_of(call.integer("axis", -1), len(shape))
    call.parameters(1, shape[axis:], optional=False)
    call.parameters(2, shape[axis:])
    few = shape[:axis] + (1,) * (len(shape) - axis)
    return [shape, few, few][: len(call.node.outputs)]


def local_response(call: Call) -> list[Shape]:
    """LRN: the shape of its input; work is that of its window over the channels."""
    shape, size = call.shape(0), call.integer("size")
    if len(shape) < 3 or not 1 <= size <= shape[1] or size % 2 == 0:
        raise Unfit(f"must have an odd window of 1 to all channels; it has {size} over {shape}")
    call.work = elements(shape) * (size + MUCH)
    return [shape]
