"""Shapes and work of operators with weights, of pooling, and of sums over axes.

The formulas are those of onnx.ai/onnx/operators. Each rule takes a `Call` and gives the shape of every output.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.scan.call import MUCH, Call, Unfit, axis_of, broadcast, elements
from edgecnn.scan.contents import Shape

_PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def convolution(call: Call) -> list[Shape]:
    """Conv: X (N, C, …) and W (M, C / group, …) → (N, M, …)."""
    picture, weights = call.shape(0), call.shape(1)
    sides, group = len(weights) - 2, call.integer("group", 1)
    if not 1 <= sides <= 3 or len(picture) != len(weights) or group < 1:
        raise Unfit(f"must have 1 to 3 spatial axes and a group of 1 or more; it has {picture}, {weights}, {group}")
    if picture[1] != weights[1] * group or weights[0] % group or not elements(weights) > 0:
        raise Unfit(f"must have channels that fit its weights; it has {picture}, {weights} in {group} groups")
    kernel = call.integers("kernel_shape", weights[2:])
    if kernel != weights[2:]:
        raise Unfit(f"must have the kernel of its weights {weights}; it has {kernel}")
    call.parameters(2, (weights[0],))
    result = (picture[0], weights[0], *_windows(call, picture[2:], kernel))
    call.work = elements(result) * elements(weights[1:])
    call.scratch = 2 * elements(result[2:]) * elements(kernel)  # pointers into the picture, in int8
    return [result]


def transposed_convolution(call: Call) -> list[Shape]:
    """ConvTranspose: X (N, C, …) and W (C, M / group, …) → (N, M, …)."""
    picture, weights = call.shape(0), call.shape(1)
    sides, group = len(weights) - 2, call.integer("group", 1)
    if not 1 <= sides <= 3 or len(picture) != len(weights) or group < 1 or picture[1] % group:
        raise Unfit(f"must have 1 to 3 spatial axes and a group of 1 or more; it has {picture}, {weights}, {group}")
    kernel = call.integers("kernel_shape", weights[2:])
    if picture[1] != weights[0] or kernel != weights[2:] or not elements(weights) > 0:
        raise Unfit(f"must have channels and a kernel that fit its weights; it has {picture}, {weights}, {kernel}")
    strides, dilations = call.steps("strides", sides, 1), call.steps("dilations", sides, 1)
    pads, extra = call.steps("pads", 2 * sides, 0), call.steps("output_padding", sides, 0)
    padding = call.text("auto_pad", "NOTSET", _PADDINGS)
    if "output_shape" in call.node.attributes:
        result = call.steps("output_shape", sides, 1)
    elif padding.startswith("SAME"):
        result = tuple([length * stride for length, stride in zip(picture[2:], strides, strict=True)])
    else:
        trimmed = [0] * sides if padding == "VALID" else [pads[i] + pads[i + sides] for i in range(sides)]
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        result = tuple([strides[i] * (picture[2 + i] - 1) + extra[i] + reach[i] - trimmed[i] for i in range(sides)])
    if min(result) < 1:
        raise Unfit(f"must give sides of 1 or more, it gives {result}")
    call.parameters(2, (weights[1] * group,))
    call.work = elements(picture) * elements(weights[1:])
    call.scratch = elements(picture[2:]) * elements(weights[1:])
    return [(picture[0], weights[1] * group, *result)]


def pool(call: Call) -> list[Shape]:
    """MaxPool, AveragePool: (N, C, …) → (N, C, …), and the places of the maxima."""
    picture = call.shape(0)
    sides = len(picture) - 2
    if not 1 <= sides <= 3:
        raise Unfit(f"must have 1 to 3 spatial axes; it has {picture}")
    kernel = call.steps("kernel_shape", sides, 1)
    if any(pad >= side for pad, side in zip(call.steps("pads", 2 * sides, 0), kernel * 2, strict=True)):
        raise Unfit(f"must pad by less than its kernel {kernel}")
    result = (*picture[:2], *_windows(call, picture[2:], kernel))
    call.work = elements(result) * elements(kernel)
    return [result] * len(call.node.outputs)


def global_pool(call: Call) -> list[Shape]:
    """GlobalAveragePool, GlobalMaxPool: (N, C, …) → (N, C, 1, …)."""
    picture = call.shape(0)
    if len(picture) < 3:
        raise Unfit(f"must have a spatial axis; it has {picture}")
    return [picture[:2] + (1,) * (len(picture) - 2)]


def gemm(call: Call) -> list[Shape]:
    """Gemm: A (M, K) and B (K, N), each possibly transposed → (M, N)."""
    left, right = call.shape(0, 2), call.shape(1, 2)
    rows, inner = left[::-1] if call.integer("transA", 0) else left
    known, columns = right[::-1] if call.integer("transB", 0) else right
    if inner != known or (call.has(2) and broadcast(call.shape(2), (rows, columns)) != (rows, columns)):
        raise Unfit(f"must have inputs that can be multiplied; it has {left} and {right}")
    call.work = rows * inner * columns
    return [(rows, columns)]


def matmul(call: Call) -> list[Shape]:
    """MatMul: (…, M, K) and (…, K, N) → (…, M, N), as NumPy does; vectors lose their axis."""
    left, right = call.shape(0), call.shape(1)
    if not left or not right or left[-1] != right[-min(2, len(right))]:
        raise Unfit(f"must have inputs that can be multiplied; it has {left} and {right}")
    outer = broadcast(left[:-2], right[:-2])
    result = outer + left[-2:-1] + (right[-1:] if len(right) > 1 else ())
    call.work = elements(result) * left[-1] + 4 * MUCH * elements(outer)
    return [result]


def matmul_integer(call: Call) -> list[Shape]:
    """MatMulInteger: as `matmul`, of bytes; zero points are left out, or one for all."""
    if call.floating or len(call.shape(0)) < 2 or len(call.shape(1)) < 2:
        raise Unfit(f"must have matrices of bytes; it has {call.shape(0)} and {call.shape(1)}")
    call.parameters(2, ())
    call.parameters(3, ())
    call.scratch = elements(call.shape(0)) + elements(call.shape(1))  # packed for the processor
    return matmul(call)


def matmul_few_bits(call: Call) -> list[Shape]:
    """MatMulNBits: A (…, K) and B of N rows in blocks of few bits → (…, N).

    Of larger blocks than 256 ONNX Runtime 1.24 gives out memory that nobody has written to.
    """
    left, weights, scales = call.shape(0), call.shape(1, 3), call.shape(2)
    inner, columns, bits = call.integer("K"), call.integer("N"), call.integer("bits", 4)
    block = call.integer("block_size")
    if bits not in (2, 4, 8) or not 16 <= block <= 256 or block & (block - 1) or not inner > 0 or not columns > 0:
        raise Unfit(f"must have blocks of 16 to 256 numbers of 2, 4 or 8 bits; it has {block} of {bits}")
    blocks = -(-inner // block)
    if not left or left[-1] != inner or weights != (columns, blocks, block * bits // 8):
        raise Unfit(f"must have inputs that fit K {inner} and N {columns}; it has {left} and {weights}")
    if elements(scales) != columns * blocks or any(map(call.has, (4, 5))):
        raise Unfit(f"must have a scale for each of {columns * blocks} blocks and no order of groups; it has {scales}")
    if call.has(3) and elements(call.shape(3)) not in (columns * -(-blocks * bits // 8), columns * blocks):
        raise Unfit(f"must have a zero point for each of {columns * blocks} blocks; it has {call.shape(3)}")
    call.work = elements(left[:-1]) * inner * columns
    return [(*left[:-1], columns)]


def einsum(call: Call) -> list[Shape]:
    """Einsum of one or two inputs, without an ellipsis.

    ONNX Runtime copies both into another order of axes, and takes a matrix product for each index that all have.
    """
    equation = call.node.attributes.get("equation")
    terms, arrow, result = str(equation).replace(" ", "").partition("->")
    inputs = terms.split(",")
    if not arrow or len(inputs) != len(call.shapes) or len(inputs) > 2 or "." in terms + result:
        raise Unfit(f"must have an equation for one or two inputs, with -> and without '...'; it has {equation!r}")
    lengths: dict[str, int] = {}
    for index, term in enumerate(inputs):
        for letter, length in zip(term, call.shape(index, len(term)), strict=True):
            if not letter.isalpha() or lengths.setdefault(letter, length) != length:
                raise Unfit(f"must have inputs that fit its equation {equation!r}; it has {call.shapes}")
    if len(set(result)) != len(result) or not set(result) <= set(lengths):
        raise Unfit(f"must give indices that its inputs have; its equation is {equation!r}")
    shape = tuple([lengths[letter] for letter in result])
    products = [
        lengths[letter] for letter in result if len(inputs) == 2 and letter in inputs[0] and letter in inputs[1]
    ]
    call.work = elements(tuple(lengths.values())) + 4 * MUCH * elements(tuple(products))
    call.scratch = elements(shape) + sum(elements(call.shape(index)) for index in range(len(inputs)))
    return [shape]


def reduce(call: Call) -> list[Shape]:
    """ReduceMean and its like: the axes named, or all, become 1 or go."""
    shape = call.shape(0)
    axes = call.axes("axes", 1, len(shape))
    if not axes:
        if axes is not None or call.integer("noop_with_empty_axes", 0):
            raise Unfit("must name its axes, or none at all")
        axes = tuple(range(len(shape)))
    return [_without(call, shape, axes)]


def arg_reduce(call: Call) -> list[Shape]:
    """ArgMax, ArgMin: one axis becomes 1 or goes."""
    shape = call.shape(0)
    return [_without(call, shape, (axis_of(call.integer("axis", 0), len(shape)),))]


def _without(call: Call, shape: Shape, axes: Sequence[int]) -> Shape:
    if not elements(shape):
        raise Unfit(f"must have something to sum up; it has {shape}")
    if call.integer("keepdims", 1):
        return tuple([1 if place in axes else length for place, length in enumerate(shape)])
    return tuple([length for place, length in enumerate(shape) if place not in axes])


def _windows(call: Call, sides: Shape, kernel: Shape) -> Shape:
    """How often a kernel fits along each side."""
    count = len(sides)
    strides, dilations = call.steps("strides", count, 1), call.steps("dilations", count, 1)
    pads, padding = call.steps("pads", 2 * count, 0), call.text("auto_pad", "NOTSET", _PADDINGS)
    up = call.integer("ceil_mode", 0)
    result = []
    for place, (side, width, stride) in enumerate(zip(sides, kernel, strides, strict=True)):
        reach = (width - 1) * dilations[place] + 1
        if padding.startswith("SAME"):
            result.append(-(-side // stride))
            continue
        added = pads[place] + pads[place + count] if padding == "NOTSET" else 0
        room = side + added - reach
        if room < 0:
            raise Unfit(f"must have a kernel no larger than the padded picture; it has {kernel} over {sides}")
        result.append((-(-room // stride) if up else room // stride) + 1)
    return tuple(result)
